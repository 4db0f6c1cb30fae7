"""What is said of a table that gives the class away, and the limit."""

from __future__ import annotations

from components.shortcut_audit.table_findings import table_failures, table_findings
from components.shortcut_audit.table_shortcuts import IMAGES, PRESENCE, TABLE, TableShortcut
from models.by_patient import Interval
from schema.findings import Weight


def _one(seen: str, gain: float, area: float = 0.5) -> TableShortcut:
    interval = Interval(area, area - 0.05, area + 0.05)
    return TableShortcut(seen, interval, interval, gain, 0.01, 0.5)


CLEAN = [_one(TABLE, 0.5, 0.9), _one(PRESENCE, 0.0), _one(IMAGES, 0.0),
         _one("column:crp", 0.2, 0.7), _one("column:ldh", 0.2, 0.7)]  # fmt: skip


def test_a_table_without_a_leak_is_no_reason_to_doubt() -> None:
    assert {finding.weight for finding in table_findings(CLEAN, None)} == {Weight.RECORD}


def test_a_column_that_is_the_answer_is_named() -> None:
    leaking = [*CLEAN[:3], _one("column:crp", 0.5, 0.9), CLEAN[4]]
    (doubt,) = (f for f in table_findings(leaking, None) if f.weight == Weight.DOUBT)
    assert doubt.sentence.startswith("crp alone predicts the class as well as the whole table")


def test_presence_that_explains_the_table_is_said_to() -> None:
    leaking = [CLEAN[0], _one(PRESENCE, 0.45, 0.88), *CLEAN[2:]]
    said = table_findings(leaking, "These are 9 patients.")
    assert any("explained by which values are there" in finding.sentence for finding in said)
    assert said[-1].sentence == "These are 9 patients."


def test_nothing_measured_is_said() -> None:
    (said,) = table_findings([], None)
    assert said.weight == Weight.NOTICE


def test_the_limit_names_what_is_above_it_but_never_the_whole_table() -> None:
    assert table_failures(None, CLEAN) == []
    assert table_failures(0.7, CLEAN) == []
    failed = table_failures(0.6, CLEAN)
    assert failed == [
        "crp alone: AUC 0.7000, above 0.6 (audit.max_table_auc)",
        "ldh alone: AUC 0.7000, above 0.6 (audit.max_table_auc)",
    ]
    assert len(table_failures(0.6, [])) == 1
