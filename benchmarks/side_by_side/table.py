"""Writes what was measured as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.side_by_side.record import Figure, Record
from benchmarks.side_by_side.rows import COLD, Row
from benchmarks.side_by_side.sides import NEW, OLD, SideName
from common.words import percent
from pipeline.study.tables import github_table

_Of = Callable[[Figure], float]


def markdown(rows: Sequence[Row], record: Record, labels: Mapping[SideName, str]) -> str:
    """Write the tables: what each row took, and as a share of the side's own cold run.

    Args:
        rows: in their order; what was not measured is left out.
        record: the figures; medians are shown.
        labels: side -> its commit.
    """
    old, new = labels[OLD], labels[NEW]
    header = ["", f"s, {old}", f"s, {new}", "old / new"]
    header += [f"CPU s, {old}", f"CPU s, {new}", "old / new"]
    header += [f"peak MiB, {old}", f"peak MiB, {new}", "old / new"]
    measured = [row for row in rows if record.all(row.name, OLD) or record.all(row.name, NEW)]
    parts = [github_table(header, (_line(row, record) for row in measured))]
    shares = [_shares(row, record) for row in measured if row.share]
    if shares and record.all(COLD, NEW):
        header = ["as a share of the side's own cold run"]
        header += [f"s, {old}", f"s, {new}", f"CPU s, {old}", f"CPU s, {new}"]
        parts.append(github_table(header, shares))
    return "\n\n".join(parts)


def loads(rows: Iterable[Row], record: Record) -> tuple[float, float]:
    """Find the lowest and the highest load average before a measurement."""
    found = [
        figure.load for row in rows for side in (OLD, NEW) for figure in record.all(row.name, side)
    ]
    return min(found), max(found)


def _line(row: Row, record: Record) -> list[str]:
    old, new = record.all(row.name, OLD), record.all(row.name, NEW)
    cells = [f"{row.title}{_what(old, new)}"]
    for of, digits in ((_seconds, 1), (_cpu, 1), (_peak, 0)):
        before, now = _median(old, of), _median(new, of)
        cells += [_number(before, digits), _number(now, digits), _ratio(before, now)]
    return cells


def _what(old: Sequence[Figure], new: Sequence[Figure]) -> str:
    kinds = dict.fromkeys(figure.what for figure in (*old, *new) if figure.what)
    return f" ({', '.join(kinds)})" if kinds else ""


def _shares(row: Row, record: Record) -> list[str]:
    cells = [row.title]
    for of in (_seconds, _cpu):
        for side in (OLD, NEW):
            part, whole = (_median(record.all(name, side), of) for name in (row.name, COLD))
            cells.append(percent(part / whole if part is not None and whole else None))
    return cells


def _seconds(figure: Figure) -> float:
    return figure.seconds


def _cpu(figure: Figure) -> float:
    return figure.cpu


def _peak(figure: Figure) -> float:
    return figure.peak_mib


def _median(figures: Sequence[Figure], of: _Of) -> float | None:
    return statistics.median(map(of, figures)) if figures else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _ratio(before: float | None, now: float | None) -> str:
    return "–" if before is None or not now else f"{before / now:.2f}"
