"""Peak memory of every node up to Transform as the number of images grows.

`make bench-memory` runs it. Each count runs in a process of its own, since a process never
tells how much it would have needed less. Linux only: the peak is read from /proc.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from pipeline.phantoms import write_phantoms
from pipeline.progress import How
from pipeline.runtime import logs_to, prepare_environment, scratch_below

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
# "5" sets the peak (VmHWM) back to what is in use now: proc(5).
_RESET_PEAK: Final = "5"
_NODES: Final = ("RadiographExampleGen", "StatisticsGen", "Transform")

Peaks = dict[str, tuple[float, int]]


class _PeakListener:
    """Keeps seconds and peak memory (MiB) of each node."""

    def __init__(self) -> None:
        self.peaks: Peaks = {}

    def warn(self, sentence: str) -> None:
        """Random weights are all the same here."""

    def node_started(self, node: str) -> None:
        """Starts the peak anew."""
        _CLEAR.write_text(_RESET_PEAK)

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Reads the peak."""
        self.peaks[node] = (seconds, _peak_mib())


def _peak_mib() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def _run_to_transform(data: Path, output: Path) -> Peaks:
    """The DAG up to Transform, as `create_pipeline` builds it."""
    prepare_environment()
    from tfx import v1 as tfx
    from tfx.orchestration.pipeline import RunOptions

    from models.engines import TENSORFLOW
    from models.weights import RANDOM, WeightsSource
    from pipeline.config import load_config
    from pipeline.dag import create_pipeline
    from pipeline.engine_resolution import ResolvedEngine
    from pipeline.local_runner import run_observed
    from pipeline.progress import NodeClock

    overrides = {"data": {"dir": data}, "output": output, "backbones": ["vgg16"]}
    config = load_config(preset="demo", overrides=overrides)
    # Featurizer doesn't run here.
    engine = ResolvedEngine(TENSORFLOW, "")
    pipeline = create_pipeline(config, {"vgg16": WeightsSource(RANDOM)}, engine)
    listener = _PeakListener()
    options = RunOptions(to_nodes=[_NODES[-1]])
    runner = tfx.orchestration.LocalDagRunner()
    run_observed(lambda: runner.run(pipeline, run_options=options), NodeClock(listener))
    return listener.peaks


def _measure(data: Path, output: Path) -> Peaks:
    with logs_to(output / "log", verbose=False), scratch_below(output):
        return _run_to_transform(data, output)


def main(
    counts: Annotated[str, typer.Option(help="Numbers of images, comma-separated.")] = "90,360",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
) -> None:
    """Run the beginning of the DAG for each count and show what each node needed."""
    context = multiprocessing.get_context("spawn")
    table = Table("images", "MB", *(f"{node}: s, peak MiB" for node in _NODES))
    for count in _numbers(counts):
        with tempfile.TemporaryDirectory() as folder:
            data = write_phantoms(Path(folder) / "data", [count // 3] * 3, size=size)
            stored = sum(file.stat().st_size for file in data.rglob("*.png"))
            with ProcessPoolExecutor(1, mp_context=context) as fresh:
                peaks = fresh.submit(_measure, data, Path(folder) / "out").result()
            cells = [f"{seconds:.0f}, {peak}" for seconds, peak in map(peaks.__getitem__, _NODES)]
            table.add_row(str(count), f"{stored / 1e6:.0f}", *cells)
    Console(width=120).print(table)


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
