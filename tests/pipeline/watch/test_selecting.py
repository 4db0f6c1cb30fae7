"""The design by which served images are chosen: probabilities, weights, strata."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.watch.log_rows import Row
from pipeline.watch.reference import Reference
from pipeline.watch.selecting import DRIFTED, RANDOM, STRATA, UNSURE, select
from schema import contract
from tests.pipeline.watch.kept import CLASSES, VERSION

REFERENCE = Reference(CLASSES, {contract.MEAN: [80.0, 160.0]}, {}, None, frozenset())


def _row(index: int, *, sure: float = 0.9, abstained: bool = False, reason: str = "") -> Row:
    rest = (1 - sure) / 2
    return Row(
        hashlib.sha256(str(index).encode()).hexdigest(), "lungs", VERSION, 0,
        {contract.MEAN: 120.0}, {}, CLASSES, (sure, rest, rest), CLASSES[0], abstained, reason,
    )  # fmt: skip


def _rows(unsure: int, drifted: int, others: int) -> list[Row]:
    rows = [_row(n, sure=0.5, abstained=True) for n in range(unsure)]
    rows += [_row(1000 + n, reason=contract.DOMAIN_INVERTED) for n in range(drifted)]
    return rows + [_row(2000 + n) for n in range(others)]


@given(
    sizes=st.tuples(*[st.integers(0, 30)] * 3),
    wanted=st.tuples(*[st.integers(0, 12)] * 3),
    seed=st.integers(0, 5),
)
def test_the_weights_of_a_stratum_add_up_to_it(
    sizes: tuple[int, ...], wanted: tuple[int, ...], seed: int
) -> None:
    rows = _rows(*sizes)
    asked = dict(zip(STRATA, wanted, strict=True))
    found = select(rows, {("lungs", VERSION): REFERENCE}, asked, seed)
    assert sum(found.sizes.values()) == len(rows)
    assert len({one.row.digest for one in found.chosen}) == len(found.chosen)
    for stratum in STRATA:
        members = [one for one in found.chosen if one.stratum == stratum]
        assert len(members) == min(asked[stratum], found.sizes[stratum])
        if members:
            assert sum(one.weight for one in members) == pytest.approx(found.sizes[stratum])


def test_each_image_is_chosen_as_often_as_its_probability_says() -> None:
    """And so the weighted share of wrong answers is that of all: no bias towards the unsure."""
    rows = _rows(20, 10, 70)
    wanted = {DRIFTED: 3, UNSURE: 10, RANDOM: 7}
    times: Counter[str] = Counter()
    stratum_of = {row.digest: row.abstained for row in rows}
    estimates = []
    for seed in range(400):
        found = select(rows, {("lungs", VERSION): REFERENCE}, wanted, seed).chosen
        times.update(one.row.digest for one in found)
        unsure = sum(one.weight for one in found if stratum_of[one.row.digest])
        estimates.append(unsure / sum(one.weight for one in found))
    probability = {True: 0.5, False: 0.1}
    drifted = {row.digest for row in rows if row.domain_reason}
    for row in rows:
        expected = 0.3 if row.digest in drifted else probability[row.abstained]
        # Within five standard errors of a binomial distribution.
        assert (
            abs(times[row.digest] / 400 - expected) < 5 * (expected * (1 - expected) / 400) ** 0.5
        )
    assert estimates == pytest.approx([0.2] * 400)


def test_the_order_of_the_log_plays_no_part_and_the_seed_does() -> None:
    rows = _rows(0, 0, 50)
    wanted = {DRIFTED: 0, UNSURE: 0, RANDOM: 10}
    references = {("lungs", VERSION): REFERENCE}
    first = select(rows, references, wanted, 1).chosen
    assert select(rows[::-1], references, wanted, 1).chosen == first
    assert select(rows, references, wanted, 2).chosen != first


def test_unsure_are_those_abstained_on_and_the_least_sure_where_they_are_too_few() -> None:
    rows = [_row(0, sure=0.6, abstained=True), *(_row(n, sure=0.7 + n / 100) for n in range(1, 9))]
    wanted = {DRIFTED: 0, UNSURE: 3, RANDOM: 0}
    found = select(rows, {("lungs", VERSION): REFERENCE}, wanted, 0)
    assert {one.row.confidence for one in found.chosen} == {0.6, 0.71, 0.72}
    assert found.sizes == {DRIFTED: 0, UNSURE: 3, RANDOM: 6}


def test_drifted_says_why() -> None:
    dark = replace(_row(1), numbers={contract.MEAN: 79.0})
    inverted = _row(2, reason=contract.DOMAIN_INVERTED)
    well = _row(3, reason=contract.DOMAIN_OK)
    wanted = {DRIFTED: 9, UNSURE: 0, RANDOM: 9}
    chosen = select([dark, inverted, well], {("lungs", VERSION): REFERENCE}, wanted, 0).chosen
    why = {one.row.digest: (one.stratum, one.because) for one in chosen}
    assert why == {
        dark.digest: (DRIFTED, contract.MEAN),
        inverted.digest: (DRIFTED, "inverted"),
        well.digest: (RANDOM, ""),
    }


def test_one_that_the_model_abstained_on_is_unsure_though_others_are_less_sure() -> None:
    """A model of several abstains where its members differ, however sure their mean is."""
    rows = [_row(0, sure=0.95, abstained=True), *(_row(n, sure=0.6) for n in range(1, 9))]
    wanted = {DRIFTED: 0, UNSURE: 1, RANDOM: 0}
    (one,) = select(rows, {("lungs", VERSION): REFERENCE}, wanted, 0).chosen
    assert one.row.abstained
