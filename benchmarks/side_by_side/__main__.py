"""This checkout beside an earlier commit, on one machine in one run (`make bench-run`).

    make bench-run DATA=… WEIGHTS=…
    make bench-run DATA=… WEIGHTS=… BASE=ba497f8 ARGS="--only cold,serve --images 45"

The earlier commit is checked out into a Git worktree of its own. Both sides are run by the same
Python, in the same environment, with homes and caches of their own, and take turns. Each figure is
written down as soon as it is measured: the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.side_by_side.bench import Bench, Wanted
from benchmarks.side_by_side.images import chosen
from benchmarks.side_by_side.record import Record
from benchmarks.side_by_side.rows import GROUPS, Row, selected, turns
from benchmarks.side_by_side.sides import (
    NEW,
    OLD,
    Side,
    SideName,
    add_worktree,
    full_commit,
    label_of,
    remove_worktree,
    short,
)
from benchmarks.side_by_side.table import loads, markdown
from common.errors import InputError
from pipeline.study.machine import describe_machine

_HERE: Final = Path(__file__).parents[2]
# The commit that issue 24 compares with.
_BASE: Final = "ba497f8"
TABLE_FILE: Final = "table.md"


def main(
    data: Annotated[Path, typer.Option(help="Folder of radiographs.")],
    weights_dir: Annotated[Path, typer.Option(help="Folder of backbone weights.")],
    output: Annotated[
        Path, typer.Option(help="All that is measured lies here; goes on with what is there.")
    ] = Path("output/bench-run"),
    base: Annotated[str, typer.Option(help="The commit to compare with.")] = _BASE,
    only: Annotated[str, typer.Option(help=f"Some of {','.join(GROUPS)}.")] = "",
    images: Annotated[int | None, typer.Option(help="As many, balanced; all of them.")] = None,
    backbones: Annotated[str, typer.Option(help="Some of them; all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Medians are shown.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the runs.")] = 0,
    base_python: Annotated[
        Path | None, typer.Option(help="Of the earlier commit, where this one can't run it.")
    ] = None,
    checkout: Annotated[Path, typer.Option(help="The one that is compared.")] = _HERE,
) -> None:
    """Measure what is missing, and print the table."""
    # As an exception, so that what is being measured is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for name, folder in (("data", data), ("weights_dir", weights_dir)):
        if not folder.is_dir():
            raise InputError(f"{name}: {folder} is no folder.")
    rows = selected(_names(only))
    wanted = Wanted(
        folder=output.resolve(),
        data=data.resolve(),
        files=tuple(chosen(data, images)),
        weights=weights_dir.resolve(),
        backbones=_names(backbones),
        seed=seed,
    )
    checkout, commit = checkout.resolve(), full_commit(checkout, base)
    labels: dict[SideName, str] = {OLD: short(commit), NEW: label_of(checkout)}
    python = Path(sys.executable)
    machine = describe_machine()
    record = Record(
        wanted.folder,
        {
            "base": commit,
            "code": labels[NEW],
            "data": str(wanted.data),
            "images": len(wanted.files),
            "weights": str(wanted.weights),
            "backbones": list(wanted.backbones),
            "seed": seed,
            "machine": f"{machine['cores']} cores of {machine['cpu']}",
        },
    )
    old = wanted.folder / "checkout"
    old_python = (base_python or python).absolute()
    sides = {
        OLD: Side(OLD, old, old_python, wanted.folder / OLD / "home"),
        NEW: Side(NEW, checkout, python, wanted.folder / NEW / "home"),
    }
    if _missing(rows, rounds, record):
        add_worktree(checkout, commit, old)
        try:
            for side in sides.values():
                side.prepare()
                side.warm_up()
            measure(rows, rounds, Bench(wanted), sides, record)
        finally:
            remove_worktree(checkout, old)
    low, high = loads(rows, record)
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, {len(wanted.files)} images, "
        f"load average before each measurement {low:.1f} to {high:.1f}, "
        f"{rounds} round{'' if rounds == 1 else 's'}\n\n{markdown(rows, record, labels)}\n"
    )
    (wanted.folder / TABLE_FILE).write_text(text, encoding="utf-8")
    print(f"\n{text}", end="")


def measure(
    rows: Sequence[Row],
    rounds: int,
    bench: Bench,
    sides: dict[SideName, Side],
    record: Record,
) -> None:
    """Measure what the record has not.

    Args:
        rows: in their order.
        rounds: of each.
        bench: measures.
        sides: name -> side.
        record: gets each figure at once.
    """
    for row in rows:
        for number, name in turns(row, rounds):
            if record.get(row.name, name, number):
                continue
            said = f"{time.strftime('%H:%M:%S')} {row.name}, round {number + 1}, {name}"
            print(f"{said} … load {os.getloadavg()[0]:.1f}", flush=True)
            figure = row.measure(bench, sides[name], number, record)
            if figure is None:
                print(f"{said}: there is no such model on this side", flush=True)
                continue
            record.put(row.name, name, number, figure)
            took = f"{figure.seconds:.1f} s, {figure.cpu:.1f} CPU s, {figure.peak_mib:.0f} MiB"
            print(f"{said}: {took}", flush=True)


def _missing(rows: Sequence[Row], rounds: int, record: Record) -> bool:
    return any(
        not record.get(row.name, side, number)
        for row in rows
        for number, side in turns(row, rounds)
    )


def _names(given: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in given.split(","))))


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"bench-run: {error}", file=sys.stderr)
        raise SystemExit(2) from None
