"""Endurance: clients that crash, hang and talk nonsense among good ones, and all that can befall.

    make soak                                  ten minutes
    make soak ARGS="--minutes 60"              an hour

A `cxr serve` process with a miniature model. It has to answer each good client's request once, with
the right answer, to log each answer once or count it as dropped, and to keep its memory.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.soak.run import Outcome, Settings, soak


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="That clients ask.")] = 10.0,
    clients: Annotated[int, typer.Option(min=1, help="Good ones for each way to ask.")] = 1,
    headroom_mib: Annotated[
        int, typer.Option(min=64, help="Memory beyond the start's, and no more.")
    ] = Settings.headroom_mib,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
) -> None:
    """Soak, and print a table in Markdown; ends with 1 where the server didn't hold."""
    settings = Settings(60 * minutes, clients, headroom_mib=headroom_mib, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        outcome = soak(settings, Path(folder))
    typer.echo(table(settings, outcome))
    if outcome.faults:
        typer.echo("\nThe server did NOT hold:\n" + "\n".join(outcome.faults), err=True)
        raise typer.Exit(1)


def table(settings: Settings, outcome: Outcome) -> str:
    """Return the figures as a table in Markdown."""
    ledger = outcome.ledger
    kinds = ", ".join(f"{name} {count}" for name, count in ledger.by_client.items())
    versions = ", ".join(f"{name} {count}" for name, count in outcome.versions.items())
    dropped = ", ".join(f"{count} for the {why}" for why, count in outcome.dropped.items())
    rows = {
        "seconds": f"{settings.seconds:g}",
        "good clients' requests answered": f"{ledger.answered.total()}",
        "told to come again (429), and answered later": f"{ledger.refused}",
        "errors": f"{ledger.errors}",
        "answers that differ from those of the start": f"{ledger.wrong}",
        "requests or connections by client": kinds,
        "versions": versions,
        "process stopped": f"{outcome.stops} × {settings.stop_seconds:g} s",
        "full disk": f"{outcome.disk}, a fifth of the time",
        "limit of private memory": f"{outcome.limit_mib} MiB",
        "memory at start, at the end, most": f"{outcome.memory_at(0.1, 0.2):.0f}, "
        f"{outcome.memory_at(0.9, 1.0):.0f}, {max(mib for _, mib in outcome.memory):.0f} MiB",
        "records in the log; dropped": f"{outcome.records}; {dropped or 'none'}",
        "good clients' answers not in the log; twice": f"{outcome.missing}; {outcome.twice}",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(("| what | figure |", "|---|---|", *lines))


if __name__ == "__main__":
    typer.run(main)
