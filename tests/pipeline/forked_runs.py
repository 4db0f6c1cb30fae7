"""Runs of `cxr run` in children of one process, which has imported TFX: each costs no import.

    python -m tests.pipeline.forked_runs      reads orders from standard input, a JSON line each

A child runs the command with the backbones in miniature. At a node, and at a moment of it, a
thing happens: the process is killed, or a folder goes. `ForkedRuns` is the side of the test.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
_NODE: Final = re.compile(r"^ *\d+  (executed|cached|resolved) +(\S+) +[\d.]+ s$", re.MULTILINE)
# start: before the executor; middle: once a file of an output is there; end: when the executor is
# done and nothing is published yet.
Moment = Literal["start", "middle", "end"]
KILL: Final = "kill"
# What a run and its nodes import.
_IMPORTED: Final = (
    "pipeline.dag.graph",
    "pipeline.local_runner",
    "pipeline.local.report_folder",
    "pipeline.local.summary",
    "components.model_card.content",
    "components.model_card.rendering",
    "components.report.writing",
    "components.shortcut_audit.findings",
    "components.shortcut_audit.leaks",
    "components.shortcut_audit.radiographs",
    "components.shortcut_audit.shortcuts",
    "models.pretrained",
    "models.signatures",
    "models.trainer",
)


@dataclass(frozen=True)
class Done:
    """How a child ended.

    Attributes:
        exit_code: of the command; minus the signal where one ended it.
        printed: standard output and standard error.
    """

    exit_code: int
    printed: str

    @property
    def how(self) -> dict[str, str]:
        """Node -> what was done for it."""
        return {node: how for how, node in _NODE.findall(self.printed)}

    def nodes(self, how: str) -> set[str]:
        """Those for which this was done."""
        return {node for node, done in self.how.items() if done == how}


class ForkedRuns:
    """The process whose children run."""

    def __init__(self, folder: Path) -> None:
        """Starts it; it answers when TFX is imported.

        Args:
            folder: of the children's settings and output.
        """
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.forked_runs"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Ends it."""
        self._process.communicate("")

    def run(
        self,
        data: Path,
        output: Path,
        *,
        node: str | None = None,
        moment: Moment = "start",
        act: str | Path = KILL,
    ) -> Done:
        """Runs once.

        Args:
            data: folder of images.
            output: folder.
            node: where something happens.
            moment: of the node.
            act: KILL, or what is removed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        printed = self._folder / f"printed-{self._count}"
        order = {
            "data": str(data),
            "output": str(output),
            "node": node,
            "moment": moment,
            "act": str(act),
            "printed": str(printed),
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Done(os.waitstatus_to_exitcode(answer), printed.read_text(errors="replace"))


def main() -> None:
    """Imports, then forks a child for each order."""
    from tests.miniatures import miniature_backbones

    with miniature_backbones():
        from common.runtime import quick_tfx_import

        with quick_tfx_import():
            # Before there is a thread that a fork would lose.
            for name in _IMPORTED:
                importlib.import_module(name)
        for line in sys.stdin:
            order = json.loads(line)
            child = os.fork()
            if child == 0:
                _child(order)
            _, status = os.waitpid(child, 0)
            print(status, flush=True)


def _child(order: dict[str, Any]) -> None:
    """Never returns."""
    from pipeline import cli

    descriptor = os.open(order["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    settings = Path(order["printed"]).with_suffix(".json")
    settings.write_text(
        json.dumps(
            {
                "preset": "demo",
                "backbones": ["vgg16"],
                # The node at which something happens is the one under way.
                "processes": 1,
                "seed": 3,
                "gate": {"min_accuracy": 0.0},
                "training": {"learning_rate": 0.01, "epochs": 3},
            }
        )
    )
    sys.argv = [
        "cxr", "run", "--data", order["data"], "--output", order["output"],
        "--config", str(settings),
    ]  # fmt: skip
    code = 0
    try:
        with _happening(order):
            cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    # What the parent would do at its end is not the child's to do.
    os._exit(code)


@contextmanager
def _happening(order: dict[str, Any]) -> Iterator[None]:
    """Has the launcher do what the order says, at its node."""
    from tfx.orchestration.portable import launcher

    run_executor, launch = launcher.Launcher._run_executor, launcher.Launcher.launch

    def watched(self: Any, info: Any) -> Any:
        if info.pipeline_node.node_info.id != order["node"]:
            return run_executor(self, info)
        places = [Path(a.uri) for artifacts in info.output_dict.values() for a in artifacts]
        return _at(order, lambda: run_executor(self, info), places)

    def launched(self: Any) -> Any:
        # Resolvers have no executor.
        if self._executor_operator or self._pipeline_node.node_info.id != order["node"]:
            return launch(self)
        return _at(order, lambda: launch(self), [])

    launcher.Launcher._run_executor, launcher.Launcher.launch = watched, launched
    yield


def _at(order: dict[str, Any], call: Callable[[], Any], places: list[Path]) -> Any:
    if order["moment"] == "start":
        _act(order)
    watcher = None
    if order["moment"] == "middle":
        mine = os.getpid()
        watcher = os.fork()
        if watcher == 0:
            # A process of its own, so that no lock of Python's makes it late.
            while not any(map(_holds_a_file, places)) and os.getppid() == mine:
                time.sleep(0.0005)
            _act(order, mine)
            os._exit(0)
    result = call()
    if watcher is not None:
        # Written so fast that the watcher didn't see it, or nothing was written.
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)
        _act(order)
    if order["moment"] == "end":
        _act(order)
    return result


def _holds_a_file(place: Path) -> bool:
    if place.name == "value":
        place = place.parent
    return any(files for _, _, files in os.walk(place))


def _act(order: dict[str, Any], process: int | None = None) -> None:
    if order["act"] == KILL:
        os.kill(process or os.getpid(), signal.SIGKILL)
    elif Path(order["act"]).is_dir():
        shutil.rmtree(order["act"], ignore_errors=True)
    else:
        Path(order["act"]).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
