"""Columns by configuration: JSON, widths, mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from schema import inputs
from schema.table import Impute, TableColumn, from_json, to_json

NUMBERS = st.floats(-1e6, 1e6, width=32)


@st.composite
def _columns(draw: st.DrawFn) -> TableColumn:
    name = draw(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True))
    column = draw(st.text(min_size=1, max_size=9).filter(lambda text: bool(text.strip())))
    presence = draw(st.booleans())
    kind = draw(st.sampled_from(["numeric", "categorical", "text"]))
    if kind == "categorical":
        return TableColumn(
            name, column, "categorical", presence=presence, values=draw(st.integers(1, 99))
        )
    if kind == "text":
        mask = tuple(draw(st.lists(st.text(min_size=1), max_size=3)))
        least = draw(st.integers(1, 3))
        ngrams = (least, draw(st.integers(least, 4)))
        return TableColumn(name, column, "text", presence=presence, ngrams=ngrams, mask=mask)
    low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1])))
    impute: Impute = draw(st.sampled_from(["median", "mean"]))
    return TableColumn(
        name, column, "numeric", low=low, detection_high=high, impute=impute, presence=presence
    )  # fmt: skip


@given(st.lists(_columns(), max_size=4, unique_by=lambda column: column.name))
def test_columns_read_back_as_they_were_written(columns: list[TableColumn]) -> None:
    assert from_json(to_json(columns)) == tuple(columns)
    assert (to_json(columns) is None) == (not columns)
    for column, each in zip(columns, inputs.of_columns(columns), strict=True):
        assert each.transformed.shape == (column.width,)
        assert (each.served, each.column) == (column.name, column)


def test_widths_follow_from_the_configuration_alone() -> None:
    assert TableColumn("a", "a", "numeric").width == 1
    assert TableColumn("a", "a", "categorical", values=4, presence=True).width == 6
    assert TableColumn("a", "a", "text", buckets=32).width == 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "CRP"}, "a name is a small letter"),
        ({"name": "image_bytes"}, "has this name already"),
        ({"column": " "}, "column is empty"),
        ({"kind": "date"}, "kind is 'date'; choose one of numeric, categorical, text"),
        ({"kind": "text", "unit": "mg"}, "unit is of no use where kind is text"),
        ({"values": 3}, "values is of no use where kind is numeric"),
        ({"kind": "categorical", "mask": ["a"]}, "mask is of no use where kind is categorical"),
        ({"low": 5, "high": 5}, "low is 5, and high 5; low must be less"),
        ({"detection_low": float("inf")}, "detection_low is inf; give a number"),
        ({"impute": "zero"}, "impute is 'zero'"),
        ({"kind": "categorical", "values": 0}, "values is 0"),
        ({"kind": "text", "buckets": 1}, "buckets is 1"),
        ({"kind": "text", "ngrams": [2, 1]}, r"ngrams is \[2, 1\]"),
    ],
)
def test_a_mistake_names_column_and_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TableColumn(**{"name": "crp", "column": "crp", "kind": "numeric", **fields})


@pytest.mark.parametrize("text", ["{", "3", '[{"name": "a"}]', '[{"nme": "a"}]', "[3]"])
def test_what_is_no_list_of_columns(text: str) -> None:
    with pytest.raises(InputError, match="can't be read"):
        from_json(text)


def test_two_columns_of_one_name_are_refused() -> None:
    column = TableColumn("a", "x", "numeric")
    with pytest.raises(InputError, match="two columns of the name 'a'"):
        from_json(to_json([column, column]))
