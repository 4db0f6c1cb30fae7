"""Peak memory of ExampleGen -> Transform as the number of images grows.

`make bench-memory` runs it. Each count runs in a process of its own, since a process never
tells how much it would have needed less.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.phantoms import write_phantoms
from pipeline.runtime import logs_to, prepare_environment


def _run_to_transform(data: Path, output: Path) -> None:
    """The DAG up to Transform, as `create_pipeline` builds it."""
    prepare_environment()
    from tfx import v1 as tfx
    from tfx.orchestration.pipeline import RunOptions

    from models.weights import RANDOM, WeightsSource
    from pipeline.config import load_config
    from pipeline.dag import create_pipeline

    overrides = {"data": {"dir": data}, "output": output, "backbones": ["vgg16"]}
    config = load_config(preset="demo", overrides=overrides)
    pipeline = create_pipeline(config, {"vgg16": WeightsSource(RANDOM)})
    wanted = ["RadiographExampleGen", "CuratedSchemaGen", "Transform"]
    tfx.orchestration.LocalDagRunner().run(pipeline, run_options=RunOptions(to_nodes=wanted))


def _measure(data: Path, output: Path, answers: multiprocessing.Queue[tuple[float, int]]) -> None:
    with logs_to(output / "log", verbose=False):
        started = time.perf_counter()
        _run_to_transform(data, output)
        spent = time.perf_counter() - started
    answers.put((spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def main(
    counts: Annotated[str, typer.Option(help="Numbers of images, comma-separated.")] = "90,360",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
) -> None:
    """Run the beginning of the DAG for each count and show its peak memory."""
    context = multiprocessing.get_context("spawn")
    table = Table("images", "seconds, imports included", "peak memory, MiB")
    for count in _numbers(counts):
        with tempfile.TemporaryDirectory() as folder:
            data = write_phantoms(Path(folder) / "data", [count // 3] * 3, size=size)
            answers: multiprocessing.Queue[tuple[float, int]] = context.Queue()
            worker = context.Process(target=_measure, args=(data, Path(folder) / "out", answers))
            worker.start()
            spent, kilobytes = answers.get()
            worker.join()
            table.add_row(str(count), f"{spent:.0f}", f"{kilobytes / 1024:.0f}")
    Console(width=100).print(table)


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
