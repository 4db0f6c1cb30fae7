"""What a person sees of the runs, in 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import rich.console
from rich import box
from rich.table import Table

from pipeline.runs.record import Model, Record

NOTHING: Final = "–"
# TFX's ids are the local time of the start; to the second they are short and, but for two runs in
# one second, of one run each.
_TO_THE_SECOND: Final = 19
_TO_THE_MINUTE: Final = 16
_DIGEST_LETTERS: Final = 8


def print_table(console: rich.console.Console, table: Table) -> None:
    """Prints a table that folds its cells, which the project's consoles don't do by themselves."""
    console.print(table, soft_wrap=False)


def new_table(title: str | None, *headings: str) -> Table:
    """An empty table with lines between its sections only."""
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
        left = (_run_lines(record, records), _ended_lines(record), _data_lines(record))
        models = [
            (f"{name} *" if name == record.champion else name, right(model), *_verdict(model))
            for name, model in record.models.items()
        ] or [(NOTHING,) * 4]
        for *texts, model in zip_longest(*left, models):
            table.add_row(*(text or "" for text in texts), *(model or ()))
        table.add_section()
    return table


def notes(records: Sequence[Record]) -> list[str]:
    """Say what the table doesn't say by itself."""
    lines = []
    if any(record.champion for record in records):
        lines.append("* champion")
    if gone := [record for record in records if record.gone]:
        lost = sum(record.gone for record in gone)
        of = sum(record.artifacts for record in gone)
        runs = "1 run" if len(gone) == 1 else f"{len(gone)} runs"
        lines.append(
            f"Of {runs}, {lost} of {of} artifacts are no longer on disk: listed is what the "
            "metadata store knows. The next run makes again what it needs of them."
        )
    lines += [
        f"{short_id(record, records)}: {name}: accuracy unknown, {model.unknown}."
        for record in records
        for name, model in record.models.items()
        if model.unknown
    ]
    return lines


def short_id(record: Record, records: Sequence[Record]) -> str:
    """The beginning of a run's id that `cxr runs diff` takes for it; all of it if need be."""
    text = record.run.id
    if len(text) <= _TO_THE_SECOND:
        return text
    short = text[:_TO_THE_SECOND]
    alike = sum(other.run.id.startswith(short) for other in records)
    return short if alike == 1 else text


def digest(text: str | None) -> str:
    """The beginning of a digest."""
    return text[:_DIGEST_LETTERS] if text else NOTHING


def right(model: Model | None) -> str:
    """Right answers of all, and the accuracy."""
    if model is None or model.figures is None:
        return "unknown" if model and model.unknown else NOTHING
    correct, total = model.figures.correct, model.figures.total
    return f"{correct}/{total}" + (f" {correct / total:.1%}" if total else "")


def yes_no(value: bool | None) -> str:
    """A verdict, or that there was none."""
    return NOTHING if value is None else "yes" if value else "no"


def ended(record: Record) -> str:
    """Say how the run ended, and where."""
    return f"{record.state} at {record.at}" if record.at else record.state


def _run_lines(record: Record, records: Sequence[Record]) -> list[str]:
    # To the minute: the store's time is a moment after the id's.
    started = record.run.started.astimezone().isoformat(timespec="seconds")
    lines = [short_id(record, records)]
    if not record.run.id.startswith(started[:_TO_THE_MINUTE]):
        lines.append(f"({started})")
    return lines


def _ended_lines(record: Record) -> list[str]:
    seconds = f"{record.run.seconds:.0f} s"
    first = (
        [f"{record.state} at", f"{record.at},", seconds]
        if record.at
        else [f"{record.state}, {seconds}"]
    )
    return [*first, f"{record.count('executed')} executed", f"{record.count('cached')} cached"]


def _data_lines(record: Record) -> list[str]:
    seed = NOTHING if record.seed is None else record.seed
    return [digest(record.digest), f"seed {seed}"]


def _verdict(model: Model) -> tuple[str, str]:
    return yes_no(model.blessed), yes_no(model.pushed)
