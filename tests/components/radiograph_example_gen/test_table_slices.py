"""In which part of each column an image is, for TFMA's slices."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from components.evaluator.results import slice_name
from components.radiograph_example_gen.table_slices import MISSING, OTHER, THERE, Slicing
from schema import contract
from schema.table import TableColumn

CRP = TableColumn("crp", "crp_val", "numeric")
WARD = TableColumn("ward", "ward", "categorical", values=2)
NOTES = TableColumn("notes", "notes", "text")
TRAINING: list[dict[str, float | str]] = [
    {"crp": float(n), "ward": ward, "notes": "x"}
    for n, ward in enumerate(["A", "a", "b", "b", "b", "c", "A", "a"], 1)
]


def _slices(**values: float | str) -> dict[str, str]:
    return Slicing.of([CRP, WARD, NOTES], TRAINING).slices_of(values)


def test_numbers_are_sliced_by_the_quarters_of_the_training_split() -> None:
    assert [_slices(crp=n)["crp"] for n in (-math.inf, 2.0, 2.5, 4.0, 6.0, 6.1, math.inf)] == [
        *["up to 2"] * 2,
        *["above 2, up to 4"] * 2,
        "above 4, up to 6",
        *["above 6"] * 2,
    ]


def test_words_by_value_and_texts_by_presence() -> None:
    assert _slices(ward=" B", notes="fever") == {"crp": MISSING, "ward": "b", "notes": THERE}
    assert _slices(ward="c") == {"crp": MISSING, "ward": OTHER, "notes": MISSING}


def test_a_column_of_one_value_and_one_of_none_have_no_quarters() -> None:
    one = Slicing.of([CRP], [{"crp": 5.0}] * 3)
    assert one.slices_of({"crp": 5.0}) == {"crp": THERE}
    none = Slicing.of([CRP, WARD], [])
    assert none.slices_of({"crp": 5.0, "ward": "a"}) == {"crp": THERE, "ward": OTHER}


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, unique=True), st.floats(-1e6, 1e6))
def test_there_are_four_parts_at_most_and_each_value_is_in_one(
    training: list[float], asked: float
) -> None:
    slicing = Slicing.of([CRP], [{"crp": value} for value in training])
    seen = {slicing.slices_of({"crp": value})["crp"] for value in training}
    assert 2 <= len(slicing.ends["crp"]) + 1 <= 4
    assert len(seen) <= 4
    assert slicing.slices_of({"crp": asked})["crp"] != MISSING


def test_a_features_slice_goes_by_no_other_columns_name() -> None:
    assert slice_name(f"{contract.TABLE_SLICE_PREFIX}ward") == "ward (feature)"
    assert slice_name(f"{contract.COLUMN_PREFIX}ward") == "ward"
