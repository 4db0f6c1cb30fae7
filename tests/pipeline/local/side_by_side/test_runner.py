"""Nodes side by side: real launchers, a real metadata store, real processes."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from common.errors import InputError
from pipeline.local.progress import NodeClock
from pipeline.local.side_by_side import places
from pipeline.local.side_by_side.cores import shared_cores
from pipeline.local_runner import NodeFailedError, run_observed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
NODES = "cxr_nodes_side_by_side"
Run = Callable[..., None]


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, sentence: str) -> None:
        """Keep it."""
        self.lines.append(sentence)

    def node_started(self, node: str) -> None:
        """Keep it."""
        self.lines.append(f"{node} started")

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Keep it."""
        self.lines.append(f"{node}: {done} of {total} {what}")

    def node_finished(self, node: str, seconds: float, how: str) -> None:
        """Keep it."""
        self.lines.append(f"{node} {how}")

    def node_failed(self, node: str) -> None:
        """Keep it."""
        self.lines.append(f"{node} failed")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file a node that ran."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture(scope="module")
def nodes_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """On the path of this process, and so of those that it starts: the nodes under their name."""
    folder = tmp_path_factory.mktemp("nodes")
    shutil.copy(Path(__file__).with_name("nodes.py"), folder / f"{NODES}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, NODES, raising=False)
        yield folder


class _Lent(places._Process):
    """A process that the next test takes, too: one takes long to load TFX."""

    kept: ClassVar[list[_Lent]] = []

    @classmethod
    def take(cls, processes: int) -> _Lent:
        """Return one that is there, or a new one."""
        return cls.kept.pop() if cls.kept else cls(processes)

    def end(self, at_once: bool) -> None:
        """Keep it, unless it is to be killed or was."""
        if at_once or not self._process.is_alive():
            super().end(at_once)
        else:
            self.kept.append(self)


@pytest.fixture(scope="module")
def lent(nodes_folder: Path) -> Iterator[Callable[[int], places._Process]]:
    """Starts a process, or takes the one of the test before."""
    yield _Lent.take
    while _Lent.kept:
        super(_Lent, _Lent.kept.pop()).end(False)


@pytest.fixture
def run(
    tmp_path: Path,
    notes: Path,
    lent: Callable[[int], places._Process],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """(what each node does) -> the diamond A, B -> C, and D, run in two processes."""
    monkeypatch.setattr(places, "_Process", lent)

    def call(told: Told, *, processes: int = 2, **does: str) -> None:
        from pipeline.local.side_by_side.runner import SideBySideRunner

        dag = diamond(importlib.import_module(NODES), tmp_path, does)
        run_observed(lambda: SideBySideRunner(processes).run(dag), NodeClock(told))

    return call


def diamond(nodes: Any, folder: Path, does: dict[str, str]) -> Any:
    """A and B, then C of both; and D, in its order behind them."""
    from tfx import v1 as tfx

    def given(node: str) -> dict[str, str]:
        return {"node": node, "does": does.get(node, ""), "notes": str(folder / "notes")}

    a, b, d = (nodes.Source(**given(name)).with_id(name) for name in "ABD")
    c = nodes.Sink(one=a.outputs["value"], other=b.outputs["value"], **given("C")).with_id("C")
    return tfx.dsl.Pipeline(
        "p",
        str(folder / "root"),
        components=[a, b, c, d],
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(folder / "metadata.db")
        ),
    )


def test_nodes_meet_that_need_nothing_of_each_other_and_an_unchanged_run_starts_no_process(
    run: Run, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A has the main thread. It ends when D has begun, which takes the place that B had."""
    told = Told()
    does = {"A": "meets B, counts, meets D", "B": "meets A, counts", "D": "meets A"}
    run(told, **does)
    # What was elsewhere said so all the same how far it was.
    assert (notes / "A").read_text() == str(os.getpid()) != (notes / "B").read_text()
    for name in "AB":
        assert f"{name}: 2 of 2 things of {name}" in told.lines
    assert told.lines.index("D started") < told.lines.index("A executed")
    ends = [line for line in told.lines if line.endswith("executed")]
    assert ends.index("C executed") > max(ends.index(f"{name} executed") for name in "AB")
    assert len(ends) == 4
    (value,) = (tmp_path / "root" / "C" / "value").glob("*/value")
    assert value.read_text() == "A+B"

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is to be executed")

    monkeypatch.setattr(places, "_Process", refuse)
    again = Told()
    run(again, **does)
    assert sorted(line for line in again.lines if line.endswith("cached")) == [
        f"{name} cached" for name in "ABCD"
    ]


def test_the_longest_chain_begins_first_and_then_what_gathers_most() -> None:
    from pipeline.local.side_by_side.runner import _urgency

    upstream: dict[str, set[str]] = {
        "backbone": set(),
        "images": set(),
        "statistics": {"images"},
        "features": {"backbone", "statistics"},
        "pusher": {"features"},
        "report": {"features", "statistics"},
    }
    urgency = _urgency(upstream)
    in_order = sorted(upstream, key=lambda name: urgency[name], reverse=True)
    assert in_order == ["images", "statistics", "backbone", "features", "report", "pusher"]


def test_what_is_made_of_several_models_comes_after_what_they_share() -> None:
    from pipeline.local.side_by_side.runner import _urgency

    upstream: dict[str, set[str]] = {
        "one": set(),
        "two": set(),
        "both": {"one", "two"},
        "alone": {"one"},
        "push both": {"both"},
        "push alone": {"alone"},
    }
    urgency = _urgency(upstream)
    in_order = sorted(upstream, key=lambda name: urgency[name], reverse=True)
    assert in_order == ["one", "two", "both", "alone", "push alone", "push both"]


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from threadpoolctl import threadpool_info

    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    np.ones((2, 2)) @ np.ones((2, 2))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    before = threads()
    with shared_cores(4):
        assert threads() == {1}
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert threads() == before and "OPENBLAS_NUM_THREADS" not in os.environ
    with shared_cores(2):
        assert os.environ["OPENBLAS_NUM_THREADS"] == "2"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    with shared_cores(4):
        assert threads() == before and os.environ["OPENBLAS_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("does", "error", "said"),
    [
        ("errs", InputError, r"^B: the user's mistake$"),
        ("breaks", NodeFailedError, "^B failed: B is broken$"),
    ],
)
def test_a_failure_is_the_same_wherever_it_happens_and_what_is_under_way_is_kept(
    run: Run, does: str, error: type[Exception], said: str, notes: Path
) -> None:
    told = Told()
    # A is first, in this process, and ends after B has failed: it sees to that, and is finished.
    with pytest.raises(error, match=said):
        run(told, A="meets B", B=f"meets A, {does}")
    assert int((notes / "B").read_text()) != os.getpid()
    assert "B failed" in told.lines and "A executed" in told.lines
    assert {"C started"}.isdisjoint(told.lines) and not (notes / "C").exists()


@pytest.mark.long
def test_a_process_that_is_killed_is_a_sentence_that_names_the_signal(
    run: Run, notes: Path
) -> None:
    told = Told()
    with pytest.raises(NodeFailedError, match=r"B failed: .*ended by SIGKILL.*`processes: 1`"):
        run(told, A="kills B", B="waits")
    assert "A executed" in told.lines and "B failed" in told.lines
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((notes / "B").read_text()), 0)
        pytest.fail("the process is still there")


# The processes beside it begin with the script, too. They have TFX's path from the start, on which
# there is another package of the name `tests`: hence nothing is imported but in the first process.
_ALONE = """
if __name__ == "__main__":
    import importlib, signal, sys
    from pathlib import Path
    # Tests that a shell has put into the background, as CI may, inherit that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, {nodes!r})
    from common.runtime import prepare_environment
    prepare_environment()
    from tests.pipeline.local.side_by_side.test_runner import NODES, diamond
    from common.runtime import quick_tfx_import
    from pipeline.local.side_by_side.places import Spares
    with quick_tfx_import(), Spares() as spares:
        from pipeline.local.side_by_side.runner import SideBySideRunner
        nodes, does = importlib.import_module(NODES), {{"A": "waits", "B": "waits"}}
        if {forks}:
            spares.fork(2)
        SideBySideRunner(2, spares).run(diamond(nodes, Path({folder!r}), does))
"""


@pytest.fixture
def alone(
    nodes_folder: Path, tmp_path: Path, notes: Path, request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process's run, whose A and B wait, one of them beside it, forked or not."""
    script = tmp_path / "alone.py"
    places = {"nodes": str(nodes_folder), "folder": str(tmp_path), "forks": request.param}
    script.write_text(textwrap.dedent(_ALONE).format(**places))
    with subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            _until(lambda: (notes / "A").exists() and (notes / "B").exists())
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("alone", [False, True], ids=["started", "forked"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_no_process_outlives_the_run(
    number: signal.Signals, alone: subprocess.Popen[bytes], notes: Path
) -> None:
    (beside,) = {int((notes / name).read_text()) for name in "AB"} - {alone.pid}
    # As a terminal does with Ctrl-C, all of them get SIGINT.
    (os.killpg if number == signal.SIGINT else os.kill)(alone.pid, number)
    assert alone.wait(120) != 0
    _until(lambda: not _alive(beside))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
