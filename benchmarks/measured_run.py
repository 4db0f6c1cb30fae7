"""The beginning of the DAG in a fresh process: seconds and peak memory of each node.

Linux only: peaks are read from /proc.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import descendants, peak_mib
from common.runtime import logs_to, prepare_environment, quick_tfx_import, scratch_below
from pipeline.local.progress import How

_PROC: Final = Path("/proc")
# "5" sets the peak (VmHWM) back to what is in use now: proc(5).
_RESET_PEAK: Final = "5"
_INTERVAL: Final = 0.1  # seconds
# Beam's workers hold more; what holds less is a compiler or a shell.
_WORKER_MIB: Final = 100


@dataclass(frozen=True)
class Spent:
    """The resources that a node took.

    Attributes:
        seconds: wall clock.
        peak_mib: resident memory of the largest process, this one or a worker, at its peak.
        workers: processes beside this one, at most.
        start_mib: resident memory of this process when the node began.
    """

    seconds: float
    peak_mib: int
    workers: int
    start_mib: int = 0


@dataclass(frozen=True)
class Wanted:
    """A run to measure.

    Attributes:
        data: folder of images.
        output: new folder; all that the run writes.
        to_node: the last one, with those before it.
        beam: as in the configuration.
        backbone: name in the table.
        weights_dir: folder of its weights; random ones where None.
        of_data: further fields of `data` in the configuration.
    """

    data: Path
    output: Path
    to_node: str
    beam: str = "direct"
    backbone: str = "vgg16"
    weights_dir: Path | None = None
    of_data: Mapping[str, Any] = field(default_factory=dict)


class _Observer:
    """Listens to the runner, and looks at the workers while a node runs."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._peaks: dict[int, int] = {}
        self._start = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def warn(self, sentence: str) -> None:
        """Leave warnings out: random weights are all the same here."""

    def node_started(self, node: str) -> None:
        """Start the peaks anew."""
        (_PROC / "self" / "clear_refs").write_text(_RESET_PEAK)
        self._start = int(peak_mib(os.getpid()))
        with self._lock:
            self._peaks.clear()

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Leave it out."""

    def node_failed(self, node: str) -> None:
        """Leave it out."""

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Read the peaks."""
        with self._lock:
            workers = dict(self._peaks)
        largest = max([int(peak_mib(os.getpid())), *workers.values()])
        self.spent[node] = Spent(seconds, largest, len(workers), self._start)

    def _watch(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            found = {pid: int(peak_mib(pid)) for pid in descendants(os.getpid())}
            with self._lock:
                for pid, peak in found.items():
                    if peak > _WORKER_MIB:
                        self._peaks[pid] = max(peak, self._peaks.get(pid, 0))


def measure(wanted: Wanted) -> dict[str, Spent]:
    """Run in a process of its own: a process can't tell how much less it would have needed.

    Returns:
        Node -> what it took, in the order of execution.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        return fresh.submit(_measure, wanted).result()


def _measure(wanted: Wanted) -> dict[str, Spent]:
    log = wanted.output / "log"
    with logs_to(log, verbose=False), scratch_below(wanted.output):
        return _run(wanted)


def _run(wanted: Wanted) -> dict[str, Spent]:
    """Build the DAG as `create_pipeline` does, up to one of its nodes."""
    prepare_environment()
    # As the product imports it: what is changed of Beam and tfx_bsl is changed there.
    with quick_tfx_import():
        from tfx import v1 as tfx
        from tfx.orchestration.pipeline import RunOptions

    from models.weights import RANDOM, WeightsSource
    from pipeline.config.pipeline_config import load_config
    from pipeline.dag.graph import create_pipeline
    from pipeline.local.progress import NodeClock
    from pipeline.local_runner import run_observed
    from pipeline.resolve.engine import resolve_engine
    from pipeline.resolve.weights import resolve_weights

    overrides: dict[str, Any] = {
        "data": {"dir": wanted.data, **wanted.of_data},
        "output": wanted.output,
        "backbones": [wanted.backbone],
        "beam": wanted.beam,
    }
    if wanted.weights_dir:
        overrides |= {"weights_dir": wanted.weights_dir, "allow_random_weights": False}
    config = load_config(preset="demo", overrides=overrides)
    observer = _Observer()
    weights = {wanted.backbone: WeightsSource(RANDOM)}
    if wanted.weights_dir:
        weights = resolve_weights(config, observer.warn)
    engine = resolve_engine(config.featurizer, observer.warn)
    pipeline = create_pipeline(config, weights, engine)
    options = RunOptions(to_nodes=[wanted.to_node])
    runner = tfx.orchestration.LocalDagRunner()
    run_observed(lambda: runner.run(pipeline, run_options=options), NodeClock(observer))
    return observer.spent
