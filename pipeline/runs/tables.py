"""The tables of runs, in 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import rich.console
from rich import box
from rich.table import Table

from pipeline.config.layout import OutputLayout
from pipeline.runs.record import Model, Record, Records

NOTHING: Final = "–"
# Ids are the local time of the start; to the second they are short and, but for two runs in one
# second, of one run each.
_TO_THE_SECOND: Final = 19
_DIGEST_LETTERS: Final = 8


def print_table(console: rich.console.Console, table: Table) -> None:
    """Print a table that folds its cells, which the project's consoles don't do by themselves."""
    console.print(table, soft_wrap=False)


def new_table(title: str | None, *headings: str) -> Table:
    """Make an empty table with lines between its sections only."""
    table = Table(title=title, title_justify="left", box=box.HORIZONTALS, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def runs_table(records: Sequence[Record]) -> Table:
    """One section a run, in it one line a model.

    Args:
        records: oldest first.
    """
    table = new_table(None, "run", "ended", "data", "model", "right on test", "blessed", "pushed")
    for record in records:
        left = ([short_id(record, records)], _ended_lines(record), _data_lines(record))
        models = [
            (
                f"{name} *" if name == record.result.champion else name,
                right(model),
                yes_no(model.blessed),
                pushed(model),
            )
            for name, model in record.result.models.items()
        ] or [(NOTHING,) * 4]
        for *texts, model in zip_longest(*left, models):
            table.add_row(*(text or "" for text in texts), *(model or ()))
        table.add_section()
    return table


def notes(found: Records, layout: OutputLayout) -> list[str]:
    """Say what the table doesn't say by itself."""
    if not found.readable and not found.unreadable:
        return [f"No run in {layout.root} has begun yet."]
    lines = []
    if any(record.result.champion for record in found.readable):
        lines.append("* champion")
    gone = [(record, n) for record in found.readable if (n := record.gone(layout))]
    if gone:
        of = sum(len(record.artifacts) for record, _ in gone)
        runs = "1 run" if len(gone) == 1 else f"{len(gone)} runs"
        lines.append(
            f"Of {runs}, {sum(n for _, n in gone)} of {of} artifacts are no longer on disk. The "
            "next run makes again what it needs of them."
        )
    return [*lines, *found.unreadable.values()]


def short_id(record: Record, records: Sequence[Record]) -> str:
    """Return the beginning of an id that `cxr runs diff` takes for it; all of it if need be."""
    text = record.id
    if len(text) <= _TO_THE_SECOND:
        return text
    short = text[:_TO_THE_SECOND]
    alike = sum(other.id.startswith(short) for other in records)
    return short if alike == 1 else text


def digest(text: str | None) -> str:
    """Return the beginning of a digest."""
    return text[:_DIGEST_LETTERS] if text else NOTHING


def right(model: Model | None) -> str:
    """Right answers of all, and the accuracy."""
    if model is None:
        return NOTHING
    share = f" {model.correct / model.total:.1%}" if model.total else ""
    return f"{model.correct}/{model.total}{share}"


def pushed(model: Model | None) -> str:
    """Return whether the run pushed it, or found it pushed."""
    return yes_no(model.pushed_to is not None if model else None)


def yes_no(value: bool | None) -> str:
    """Word a verdict, or that there was none."""
    return NOTHING if value is None else "yes" if value else "no"


def ended(record: Record) -> str:
    """Say how the run ended, and where."""
    return f"{record.state} at {record.at}" if record.at else record.state


def _ended_lines(record: Record) -> list[str]:
    seconds = f"{record.seconds:.0f} s"
    first = (
        [f"{record.state} at", f"{record.at},", seconds]
        if record.at
        else [f"{record.state}, {seconds}"]
    )
    return [*first, f"{record.count('executed')} executed", f"{record.count('cached')} cached"]


def _data_lines(record: Record) -> list[str]:
    return [digest(record.digest), f"seed {record.configuration.get('seed', NOTHING)}"]
