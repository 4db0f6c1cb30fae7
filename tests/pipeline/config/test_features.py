"""`data.features` and `data.label`: what is taken, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InputError
from pipeline.config.pipeline_config import load_config
from schema.contract import LABEL_COLUMN
from schema.table import TableColumn

LABELLED: dict[str, Any] = {
    "layout": "table",
    "label": "icu_day",
    "classes": [{"name": "Ward", "labels": [""]}, {"name": "ICU", "labels": ["*"]}],
}


def _data(**fields: Any) -> Any:
    return load_config(overrides={"data": {"dir": "images", **fields}}).data


def _refused(message: str, **fields: Any) -> None:
    with pytest.raises(InputError, match=message):
        _data(**fields)


def test_columns_as_all_nodes_know_them() -> None:
    crp = {"column": " crp_val", "kind": "numeric", "unit": "mg/l", "low": 0, "high": 600}
    notes = {"kind": "text", "mask": ["ICU"], "ngrams": [1, 1]}
    assert _data(features={"crp": crp, "notes": notes}).table == (
        TableColumn("crp", "crp_val", "numeric", unit="mg/l", low=0, high=600),
        TableColumn("notes", "notes", "text", mask=("ICU",), ngrams=(1, 1)),
    )
    assert _data().table == ()


def test_the_label_may_be_any_column() -> None:
    data = _data(**LABELLED)
    assert data.how_laid_out.columns == {LABEL_COLUMN: "icu_day"}
    assert [each["labels"] for each in data.class_specs] == [("",), ("*",)]


def test_an_outcome_is_refused_with_the_reason_unless_somebody_says_that_it_is_none() -> None:
    feature = {"column": "death_offset", "kind": "numeric"}
    _refused(
        r"features\.days: 'death_offset' can't be a feature: .* an outcome",
        features={"days": feature},
    )
    _refused("no_outcome: true", features={"days": feature})
    assert _data(features={"days": {**feature, "no_outcome": True}}).table[0].name == "days"
    _refused("an outcome", features={"survival": {"column": "x7", "kind": "numeric"}})


@pytest.mark.parametrize("column", ["file", "label", "patient_id", "PID"])
def test_what_can_never_be_a_feature(column: str) -> None:
    feature = {"column": column, "kind": "categorical", "no_outcome": True}
    _refused("can't be a feature: it", columns={"patient_id": "pid"}, features={"x": feature})


def test_the_labels_column_and_what_is_called_like_it() -> None:
    taken = {"column": "ICU-day", "kind": "numeric", "no_outcome": True}
    _refused("it is the label", **LABELLED, features={"x": taken})
    other = {**LABELLED, "label": "sepsis_day"}
    _refused("'sepsis' in its name", **other, features={"sepsis_score": {"kind": "numeric"}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": "icu_day"}, "label: needs layout: table"),
        ({**LABELLED, "columns": {"label": "x"}}, "columns names the label's column, too"),
        ({**LABELLED, "label": None}, "needs label, the column's name"),
        ({"features": {"CRP": {"kind": "numeric"}}}, "a name is a small letter"),
        ({"features": {"crp": {"kind": "number"}}}, r"data\.features\.crp\.kind"),
        ({"features": {"crp": {"kind": "text", "low": 1}}}, "low is of no use"),
        ({"features": {"n": {"kind": "text", "mask": ["-"]}}}, "neither a letter nor a digit"),
        (
            {"features": {n: {"kind": "numeric", "column": "CRP"} for n in ("a", "b")}},
            r"features\.b: a has the column 'CRP', too",
        ),
    ],
)
def test_mistakes_name_the_field(fields: dict[str, Any], message: str) -> None:
    _refused(message, **fields)
