"""Seconds and accuracy of the paper's recipe, a stock TFX pipeline, and this pipeline.

`make bench-training DATA=… WEIGHTS=…` runs it. Every case is a process of its own, and its
measurement is written down before the next one begins: started again, the benchmark goes on
where it was broken off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.training import cases, report
from benchmarks.training.arithmetic import CASES
from benchmarks.training.store import Store
from common.console import open_console
from common.errors import InputError
from models.backbones import BACKBONES


def _chosen(text: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Read comma-separated names, in the order in which they are allowed."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        raise InputError(f"{text!r}: give some of {', '.join(allowed)}, with commas between.")
    return tuple(name for name in allowed if name in names)


def run(bench: cases.Bench, only: tuple[str, ...], execute: cases.Execute = cases.execute) -> Store:
    """Measure what isn't measured yet, and show all of it.

    Args:
        bench: what all cases share.
        only: the cases to run.
        execute: runs a command.

    Raises:
        InputError: `bench.output` holds measurements of other settings, or a case lacks the
            one before it.
        CaseFailedError: a case's process failed.
    """
    bench.output.mkdir(parents=True, exist_ok=True)
    store = Store(bench.output / "results.json", bench.settings)
    console = open_console()
    for case in only:
        for key in cases.keys_of(case, bench):
            if key not in store.measured:
                console.print(f"({key}) …")
                store.finish(key, cases.measure(key, bench, store.start(key), execute))
    report.show(store.measured, bench.backbones, bench.epochs, console)
    return store


def main(
    data: Annotated[Path, typer.Option(help="Folder of images, as of `cxr run`.")],
    weights_dir: Annotated[
        Path | None, typer.Option(help="Pre-trained weights, as of `cxr run`.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Results and all that the cases write.")] = Path(
        "output/bench-training"
    ),
    only: Annotated[str, typer.Option(help="Comma-separated cases.")] = ",".join(CASES),
    backbones: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(BACKBONES),
    epochs: Annotated[int, typer.Option(min=1, help="Of the stock pipeline's trainings.")] = 10,
    seed: Annotated[int, typer.Option(help="Of split and training.")] = 0,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Go on without; to try the benchmark.")
    ] = False,
) -> None:
    """Run the cases and show seconds, accuracy and ratios."""
    try:
        bench = cases.Bench(
            data=data,
            weights_dir=weights_dir,
            output=output,
            backbones=_chosen(backbones, tuple(BACKBONES)),
            seed=seed,
            epochs=epochs,
            random_weights=random_weights,
        )
        run(bench, _chosen(only, CASES))
    except (InputError, cases.CaseFailedError) as error:
        typer.echo(f"bench-training: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from error


if __name__ == "__main__":
    typer.run(main)
