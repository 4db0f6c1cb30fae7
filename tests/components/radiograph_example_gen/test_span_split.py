"""Images that arrive span by span: who has a place keeps it, whatever comes later."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from components.radiograph_example_gen.span_split import (
    Kept,
    SpanImage,
    SpansSplit,
    SplitRule,
    split_spans,
)
from components.radiograph_example_gen.split import (
    UNUSED,
    SplitImage,
    split_counts,
    split_images,
)
from schema import contract

TEST, EVAL = Fraction("0.2"), Fraction("0.3")
CLASSES = ("a", "b")
Spans = list[tuple[int, list[SpanImage]]]


def sha(*key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()


def rule(seed: int = 0) -> SplitRule:
    return SplitRule(CLASSES, seed, TEST, EVAL)


def images(span: int, counts: Sequence[int], patients: Sequence[int] = ()) -> list[SpanImage]:
    """`counts` images of each class; the i-th image's patient is the i-th of `patients`, if any."""
    found = [(name, index) for name, n in zip(CLASSES, counts, strict=True) for index in range(n)]
    return [
        SpanImage(
            sha(span, name, index),
            name,
            frozenset({f"p{patients[i]}"}) if i < len(patients) and patients[i] else frozenset(),
        )
        for i, (name, index) in enumerate(found)
    ]


# The first span has so many images without a patient that it can always be split; patients
# of all spans are drawn from a few, and classes differ in size, down to nothing.
first = st.tuples(st.integers(30, 40), st.integers(30, 40))
later = st.tuples(st.integers(0, 14), st.integers(0, 14))
who = st.lists(st.integers(0, 9), max_size=14)
sequences = st.tuples(
    st.tuples(first, who), st.lists(st.tuples(later, who), min_size=1, max_size=4)
).map(
    lambda parts: [
        (number, images(number, counts, patients))
        for number, (counts, patients) in enumerate([parts[0], *parts[1]], 1)
    ]
)


def used(split: SpansSplit) -> dict[str, str]:
    return {sha256: name for sha256, name in split.assignment.items() if name != UNUSED}


def runs_of(spans: Spans, *, ledger: bool, seed: int = 0) -> list[SpansSplit]:
    """A run a span, each with all spans so far; with what earlier runs gave, or without."""
    found: list[SpansSplit] = []
    for end in range(1, len(spans) + 1):
        known = found[-1].kept if ledger and found else {}
        found.append(split_spans(spans[:end], known, rule(seed)))
    return found


@settings(max_examples=80)
@given(sequences, st.integers(0, 99))
def test_who_has_a_place_keeps_it(spans: Spans, seed: int) -> None:
    runs = runs_of(spans, ledger=False, seed=seed)
    for earlier, now in itertools.pairwise(runs):
        assert earlier.assignment.items() <= now.assignment.items()


@settings(max_examples=80)
@given(sequences)
def test_no_patient_is_ever_in_two_splits(spans: Spans) -> None:
    seen: dict[str, set[str]] = {}
    for run in runs_of(spans, ledger=False):
        for sha256, split in used(run).items():
            for patient in run.kept[sha256].patients:
                seen.setdefault(patient, set()).add(split)
    assert all(len(splits) == 1 for splits in seen.values())


@settings(max_examples=60)
@given(sequences)
def test_what_earlier_runs_gave_says_nothing_new_of_unchanged_spans(spans: Spans) -> None:
    assert runs_of(spans, ledger=True) == runs_of(spans, ledger=False)
    # Nor do later spans, for a run that goes back.
    everything = split_spans(spans, {}, rule()).kept
    back = split_spans(spans[:1], everything, rule()).assignment
    assert split_spans(spans[:1], {}, rule()).assignment.items() <= back.items()


@settings(max_examples=60)
@given(sequences, st.data())
def test_a_span_may_go_or_lose_images(spans: Spans, data: st.DataObject) -> None:
    before = split_spans(spans, {}, rule())
    gone = data.draw(st.integers(0, len(spans) - 1))
    fewer = [(number, these[::2]) for number, these in spans[:gone] + spans[gone + 1 :]]
    after = split_spans(fewer, before.kept, rule())
    assert after == before


@given(st.integers(10, 40), st.integers(0, 9))
def test_the_first_span_is_split_as_a_plain_folder(n: int, seed: int) -> None:
    span = images(1, (n, n + 3), [1, 1, 2, 2, 2])
    plain = split_images(
        [SplitImage(i.sha256, i.class_name, min(i.patients, default="")) for i in span],
        CLASSES, seed, TEST, EVAL,
    )  # fmt: skip
    assert split_spans([(1, span)], {}, rule(seed)).assignment == plain.assignment


@given(first, st.lists(later, max_size=4))
def test_without_patients_all_spans_together_are_exact(
    head: tuple[int, int], rest: list[tuple[int, int]]
) -> None:
    spans = [(number, images(number, counts)) for number, counts in enumerate([head, *rest], 1)]
    split = split_spans(spans, {}, rule())
    n = sum(min(counts) for counts in (head, *rest))
    for name in CLASSES:
        found = [split.kept[s].class_name + place for s, place in used(split).items()]
        counts = {each: found.count(name + each) for each in contract.SPLITS}
        assert counts == split_counts(n, TEST, EVAL)


def test_a_known_patient_goes_where_the_patient_is() -> None:
    old = images(1, (20, 20), [1, 1, 1])
    before = split_spans([(1, old)], {}, rule())
    home = before.kept[old[0].sha256].split
    new = images(2, (9, 9), [1] * 9)
    after = split_spans([(1, old), (2, new)], {}, rule())
    assert {after.kept[image.sha256].split for image in new[:9]} == {home}


def test_one_image_in_two_classes_of_two_spans_is_doubted() -> None:
    old = images(1, (20, 20))
    again = SpanImage(old[0].sha256, "b")
    split = split_spans([(1, old), (2, [again])], {}, rule())
    assert split.doubted == {old[0].sha256}
    assert old[0].sha256 not in split.assignment


def test_two_patients_who_turn_out_to_be_one_are_not_moved_but_left_out() -> None:
    places = {"t": Kept("a", "train", frozenset({"p"})), "e": Kept("a", "test", frozenset({"q"}))}
    places |= {"o": Kept("b", "test", frozenset({"r"}))}
    linking = SpanImage("t", "a", frozenset({"q"}))
    new = SpanImage("n", "a", frozenset({"q"})), SpanImage("m", "b")
    split = split_spans([(2, [linking]), (3, new)], places, rule())
    assert split.torn == {"t", "e", "n"}
    assert [split.kept[name].split for name in "ten"] == ["train", "test", UNUSED]
    assert set(split.assignment) == {"o", "m"}


def test_too_few_images_name_the_span() -> None:
    with pytest.raises(InputError, match=r"span 3, the first: class 'a' has 2 usable images"):
        split_spans([(3, images(3, (2, 9)))], {}, rule())
