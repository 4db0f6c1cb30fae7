"""What a table gives away: a planted leak is named, values that carry the answer are none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.shortcut_audit.table_shortcuts import (
    IMAGES,
    PRESENCE,
    TABLE,
    TableShortcut,
    column_of,
    explaining,
    measure,
)
from schema.table import TableColumn

COLUMNS = (
    TableColumn("crp", "crp_val", "numeric"),
    TableColumn("ldh", "ldh_val", "numeric"),
    TableColumn("bed", "bed", "categorical"),
    TableColumn("notes", "notes", "text", mask=("covid",)),
)
PATIENTS = 90


def _table(seed: int = 0) -> tuple[dict[str, list], np.ndarray, list[str]]:
    """Values that carry half of the answer each; whether they are there carries none of it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(PATIENTS) % 2), 2)
    groups = [f"p{n}" for n in range(PATIENTS) for _ in range(2)]
    cells: dict[str, list] = {}
    for name in ("crp", "ldh"):
        values = rng.normal(size=len(labels)) + 1.0 * labels
        values[rng.random(len(labels)) < 0.3] = math.nan
        cells[name] = list(values)
    cells["crp"][0] = math.inf
    cells["bed"] = [rng.choice(["a", "b", ""]) for _ in labels]
    cells["notes"] = [rng.choice(["cough", "fever", ""]) for _ in labels]
    return cells, labels, groups


def _by_name(found: list[TableShortcut]) -> dict[str, TableShortcut]:
    return {one.seen: one for one in found}


def test_values_with_the_answer_are_telling_but_explain_nothing_alone() -> None:
    found = measure(COLUMNS, *_table(), seed=0)
    by_name = _by_name(found)
    assert list(by_name) == [
        TABLE, PRESENCE, IMAGES, "column:crp", "column:ldh", "column:bed", "words:notes"
    ]  # fmt: skip
    assert by_name[TABLE].telling
    assert by_name["column:crp"].telling
    assert not by_name[PRESENCE].telling
    assert not by_name[IMAGES].telling
    assert explaining(found) == []
    interval = by_name[TABLE].auc
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        ("presence", {PRESENCE, "column:crp"}),
        ("column", {"column:bed"}),
        ("words", {"words:notes"}),
    ],
)
def test_a_planted_leak_is_named(leak: str, named: set[str]) -> None:
    cells, labels, groups = _table()
    rng = np.random.default_rng(5)
    sure = rng.random(len(labels)) < 0.97
    said = np.where(sure, labels, 1 - labels)
    if leak == "presence":
        cells["crp"] = [1.0 if one else math.nan for one in said]
    elif leak == "column":
        cells["bed"] = [("a", "b")[one] for one in said]
    else:
        cells["notes"] = [("routine cough", "on ventilator")[one] for one in said]
    found = explaining(measure(COLUMNS, cells, labels, groups, seed=0))
    assert {one.seen for one in found} == named
    assert all(column_of(one.seen) or one.seen == PRESENCE for one in found)


def test_a_masked_word_is_no_leak() -> None:
    cells, labels, groups = _table()
    cells["notes"] = [("seen for COVID.", "seen for it")[one] for one in labels]
    masked = _by_name(measure(COLUMNS, cells, labels, groups, seed=0))["words:notes"]
    cells["notes"] = [("seen for flu.", "seen for it")[one] for one in labels]
    plain = _by_name(measure(COLUMNS, cells, labels, groups, seed=0))["words:notes"]
    assert plain.auc.value > 0.95
    assert plain.auc.value >= masked.auc.value


def test_how_many_images_a_patient_has_is_asked() -> None:
    labels = np.array([0] * 40 + [1] * 120)
    groups = [f"a{n}" for n in range(40)] + [f"b{n // 4}" for n in range(120)]
    cells, _, _ = _table()
    cells = {name: (values * 2)[:160] for name, values in cells.items()}
    found = _by_name(measure(COLUMNS, cells, labels, groups, seed=0))
    assert found[IMAGES].telling
    assert found[IMAGES].name == "how many images a patient has"


def test_one_class_or_one_patient_is_no_measurement() -> None:
    cells, labels, groups = _table()
    assert measure(COLUMNS, cells, np.zeros_like(labels), groups, seed=0) == []
    assert measure(COLUMNS, cells, labels, ["p"] * len(labels), seed=0) == []
