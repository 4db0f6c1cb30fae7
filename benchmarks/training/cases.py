"""The cases, each run as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.training.arithmetic import COLD, OTHER_HEAD, STOCK, UNCHANGED, paper_key
from common.errors import InputError
from pipeline.cli import EXIT_NONE_BLESSED, EXIT_PUSHED
from pipeline.config.layout import OutputLayout

# (d)'s penalty; none of the table's, nor is what follows when (d) was broken off.
_OTHER_L2: Final = 0.02
_L2_STEP: Final = 0.001
_NODE_LINE: Final = re.compile(r"^\s*\d+\s+(executed|cached|resolved)\s+\S+\s+[\d.]+ s$")


@dataclass(frozen=True)
class Bench:
    """The settings that all cases have in common.

    Attributes:
        data: folder of images, as `cxr run` takes it.
        weights_dir: as `cxr run` takes it.
        output: all cases write below it.
        backbones: names in the table.
        seed: of split and training.
        epochs: of the stock pipeline's trainings.
        random_weights: go on where no weights are found; only to try the benchmark.
    """

    data: Path
    weights_dir: Path | None
    output: Path
    backbones: tuple[str, ...]
    seed: int
    epochs: int
    random_weights: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that measurements must share to be compared."""
        return {
            "data": str(self.data.resolve()),
            "weights_dir": str(self.weights_dir.resolve()) if self.weights_dir else None,
            "backbones": list(self.backbones),
            "seed": self.seed,
            "epochs": self.epochs,
        }


class CaseFailedError(RuntimeError):
    """A case's process failed."""


@dataclass(frozen=True)
class Finished:
    """A process that came to an end.

    Attributes:
        seconds: wall clock from its start to its end, the interpreter's included.
        lines: its standard output.
    """

    seconds: float
    lines: Sequence[str]


Execute = Callable[[Sequence[str]], Finished]


def execute(command: Sequence[str]) -> Finished:
    """Run a command and show what it prints as it comes.

    Raises:
        CaseFailedError: it ended with another code than those of a run that came to an end.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            sys.stdout.write(line)
            lines.append(line.rstrip("\n"))
    if process.returncode not in (EXIT_PUSHED, EXIT_NONE_BLESSED):
        raise CaseFailedError(f"{' '.join(command)} ended with {process.returncode}")
    return Finished(time.perf_counter() - started, lines)


def paper(bench: Bench, backbone: str, run: Execute = execute) -> dict[str, Any]:
    """Measure case (a) for one backbone: the paper's recipe, two epochs of it.

    Returns:
        `epochs`: seconds of each; `nodes`: node -> seconds.
    """
    folder = bench.output / "paper" / backbone
    result = _fresh(folder) / "result.json"
    run(
        [
            *_python("benchmarks.training.paper"),
            *_common(bench, folder / "run"),
            *("--backbone", backbone, "--result", str(result)),
            *_random_flag(bench),
        ]
    )
    return _read(result)


def stock(bench: Bench, run: Execute = execute) -> dict[str, Any]:
    """Measure case (b): the stock pipeline.

    Returns:
        `seconds`: wall clock; `accuracy`: backbone -> on the test split; `nodes`: node ->
        seconds.
    """
    folder = bench.output / "stock"
    result = _fresh(folder) / "result.json"
    finished = run(
        [
            *_python("benchmarks.training.stock.pipeline"),
            *_common(bench, folder / "run"),
            *("--backbones", ",".join(bench.backbones), "--epochs", str(bench.epochs)),
            *("--result", str(result)),
            *_random_flag(bench),
        ]
    )
    return {"seconds": finished.seconds, **_read(result)}


def ours(bench: Bench, case: str, attempt: int, run: Execute = execute) -> dict[str, Any]:
    """Measure cases (c) to (e): this pipeline cold, with another head, and with nothing changed.

    Args:
        bench: what all cases share.
        case: of the three.
        attempt: how often the case was broken off before. A half-done (d) left results in
            the cache, so the next one takes yet another head.
        run: runs a command.

    Returns:
        `seconds`: wall clock; `accuracy`: backbone -> on the test split; `nodes`: node ->
        seconds; `executed`: how many nodes computed something; `l2`: the head's penalty,
        None for the table's.

    Raises:
        InputError: (d) or (e) without (c).
    """
    folder = bench.output / "ours"
    layout = OutputLayout(folder / "run")
    if case == COLD:
        _fresh(folder)
    elif not layout.metadata.is_file():
        raise InputError(f"only: ({case}) needs ({COLD}) before it, in the same --output.")
    config = folder / "config.yaml"
    if case != UNCHANGED:
        l2 = _OTHER_L2 + attempt * _L2_STEP if case == OTHER_HEAD else None
        settings = {"training": {"head": {"l2": l2}}, "allow_random_weights": bench.random_weights}
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    finished = run(
        [
            *_python("pipeline.cli"),
            *("run", "--preset", "fast", "--config", str(config)),
            *_common(bench, layout.root),
            *("--backbones", ",".join(bench.backbones)),
        ]
    )
    summary = _read(layout.summary)
    nodes = [match.group(1) for line in finished.lines if (match := _NODE_LINE.match(line))]
    return {
        "seconds": finished.seconds,
        "accuracy": {name: summary["models"][name]["accuracy"] for name in bench.backbones},
        "nodes": summary["seconds"],
        "executed": nodes.count("executed"),
        "l2": yaml.safe_load(config.read_text(encoding="utf-8"))["training"]["head"]["l2"],
    }


def keys_of(case: str, bench: Bench) -> list[str]:
    """List the measurements that a case consists of."""
    return [paper_key(name) for name in bench.backbones] if case == "a" else [case]


def measure(key: str, bench: Bench, attempt: int, run: Execute = execute) -> dict[str, Any]:
    """Take one measurement, and note how busy the machine was when it began.

    Args:
        key: of `keys_of`.
        bench: what all cases share.
        attempt: as of `ours`.
        run: runs a command.
    """
    load = os.getloadavg()[0]
    if key == STOCK:
        measured = stock(bench, run)
    elif key in (COLD, OTHER_HEAD, UNCHANGED):
        measured = ours(bench, key, attempt, run)
    else:
        measured = paper(bench, key.partition(".")[2], run)
    return measured | {"load_before": round(load, 2)}


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _common(bench: Bench, output: Path) -> list[str]:
    arguments = ["--data", str(bench.data), "--output", str(output), "--seed", str(bench.seed)]
    if bench.weights_dir is not None:
        arguments += ["--weights-dir", str(bench.weights_dir)]
    return arguments


def _random_flag(bench: Bench) -> list[str]:
    return ["--random-weights"] if bench.random_weights else []


def _fresh(folder: Path) -> Path:
    """Make an empty folder: what a broken-off attempt left would be taken from the cache."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
