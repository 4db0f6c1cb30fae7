"""Sentences on what a table gives away; and the limit beyond which nothing is pushed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from components.shortcut_audit.table_shortcuts import (
    IMAGES,
    PRESENCE,
    TABLE,
    TableShortcut,
    column_of,
    explaining,
)
from schema.findings import Finding, Weight

ABOUT_TABLE: Final = "table"


def table_findings(shortcuts: Sequence[TableShortcut], few: str | None) -> list[Finding]:
    """Write a sentence or two a finding.

    Args:
        shortcuts: of `measure`.
        few: a sentence where patients are few (`models.by_patient.few_patients`).
    """
    return [Finding(ABOUT_TABLE, weight, said) for weight, said in _said(shortcuts, few)]


def _said(shortcuts: Sequence[TableShortcut], few: str | None) -> Iterator[tuple[Weight, str]]:
    if not shortcuts:
        yield (
            Weight.NOTICE,
            "What the table gives away was not measured: there is no second class, or a class has "
            "one patient.",
        )
        return
    by_name = {one.seen: one for one in shortcuts}
    explains = explaining(shortcuts)
    whole = by_name[TABLE]
    yield Weight.RECORD, f"The table alone predicts the class with {_figures(whole)}."
    for seen in (PRESENCE, IMAGES):
        one = by_name[seen]
        if one.telling:
            what = (
                "Which values of the table are there, without the values,"
                if seen == PRESENCE
                else "How many images a patient has"
            )
            yield Weight.NOTICE, f"{what} predicts the class with {_figures(one)}."
    for one in explains:
        if column_of(one.seen):
            yield (
                Weight.DOUBT,
                f"{one.name} alone predicts the class as well as the whole table, with "
                f"{_figures(one)}: see that it isn't written down once the class is known.",
            )
        else:
            yield (
                Weight.DOUBT,
                f"What the table adds is explained by {one.name} ({_figures(one)}): a model on it "
                "may learn how patients are cared for, and not what they have.",
            )
    if few:
        yield Weight.NOTICE, few


def _figures(one: TableShortcut) -> str:
    area = one.auc
    return f"an AUC of {area.value:.3f} (95 % interval {area.low:.3f} to {area.high:.3f})"


def table_failures(limit: float | None, shortcuts: Sequence[TableShortcut]) -> list[str]:
    """Say what exceeds the limit: a phrase each, with the field that asks for it.

    Args:
        limit: the largest AUC that presence, counts of images, a column or its words may have; None
            asks for nothing.
        shortcuts: of `measure`.
    """
    if limit is None:
        return []
    field = "audit.max_table_auc"
    if not shortcuts:
        # What could not be looked at is not within a limit.
        return [f"no second class, or too few patients, to measure the table on ({field})"]
    return [
        f"{one.name} alone: AUC {one.auc.value:.4f}, above {limit:.6g} ({field})"
        for one in shortcuts
        if one.seen != TABLE and one.auc.value > limit
    ]
