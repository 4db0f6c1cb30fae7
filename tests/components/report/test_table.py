"""The report's section on the table, on made figures."""

from __future__ import annotations

from typing import Any

from components.report import table
from components.report.drawing import style

PARTS: dict[str, Any] = {
    "images": 12,
    "parts": [
        {"name": "the image", "mean_absolute": 2.0, "signed": {"A": 1.5, "B": 2.5}},
        {"name": "crp", "mean_absolute": 0.5, "signed": {"A": -0.1, "B": 0.9}},
        {"name": "before anything is known", "mean_absolute": 9.0, "signed": {"A": 1, "B": 1}},
    ],
}


def _model(**given: Any) -> dict[str, Any]:
    return {"coefficients": None, "parts": None, "table": None} | given


def test_a_run_without_a_table_has_no_section() -> None:
    assert table.table_section({"vgg16": _model()}, {"table": []}) is None


def test_what_the_table_adds_beyond_its_presence_is_the_audits() -> None:
    rows = [{"seen": "table", "gain": 0.5}, {"seen": "presence", "gain": 0.375}]
    compared: dict[str, Any] = {"decision_curve": {}}
    models = {
        "vgg16": _model(),
        "table": _model(coefficients=[{}]),
        "joint": _model(parts=PARTS, table=compared),
    }
    found = table.table_section(models, {"table": rows})
    assert found == {
        "models": ["table", "joint"],
        "compared": compared,
        "gives_away": rows,
        "beyond_presence": 0.125,
    }
    alone = table.table_section({"table": _model(coefficients=[{}])}, None)
    assert alone is not None
    assert (alone["gives_away"], alone["beyond_presence"]) == ([], None)


def test_figures_say_in_words_what_they_show() -> None:
    points = [
        {"threshold": 0.25, "model": 0.2, "all": 0.1},
        {"threshold": 0.5, "model": 0, "all": -1},
    ]
    with style():
        parts = table.parts("joint", PARTS)
        curve = table.decision_curve({"0": points, "1": points}, ["A", "B"])
    assert parts.alt.endswith("joint's answers: the image 2.00; crp 0.50.")
    assert "over 12 test images" in parts.caption
    assert curve.alt == "Decision curves of A, B."
