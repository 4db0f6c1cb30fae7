"""`cxr run` in this process, and a summary such as it writes."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.local.progress import How, NodeClock

Snapshot = Callable[[Path], dict[str, int]]


@dataclass(frozen=True)
class Outcome:
    """What one `cxr run` did.

    Attributes:
        exit_code: of the command.
        printed: standard output and standard error, as they came.
        how: node -> what was done for it.
        output: the output folder.
        summary: summary.json; empty where there is none.
        served: files below the serving folder after this run -> time of change.
    """

    exit_code: int
    printed: str
    how: dict[str, How]
    output: Path
    summary: dict[str, Any]
    served: dict[str, int]

    @property
    def cached(self) -> set[str]:
        """Nodes whose output came from the cache."""
        return {node for node, how in self.how.items() if how == "cached"}

    @property
    def executed(self) -> set[str]:
        """Nodes that computed something."""
        return {node for node, how in self.how.items() if how == "executed"}


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def snapshot() -> Snapshot:
    """Folder -> its files, each with the time at which it was last written."""

    def call(folder: Path) -> dict[str, int]:
        return {
            str(path.relative_to(folder)): path.stat().st_mtime_ns
            for path in folder.rglob("*")
            if path.is_file()
        }

    return call


@pytest.fixture(scope="module")
def run(tiny_backbone: str, phantom_folder: Path, snapshot: Snapshot) -> Run:
    """Runs `cxr run` in this process, as the console script would.

    It captures what is printed by itself: capsys ends with the test, and runs that several
    tests look at outlive one.
    """

    def call(
        output: Path,
        *arguments: str,
        data: Path = phantom_folder,
        config: dict[str, Any] | None = None,
    ) -> Outcome:
        settings = {
            "preset": "demo",
            "backbones": [tiny_backbone],
            "seed": 3,
            "gate": {"min_accuracy": 0.5},
            "training": {"learning_rate": 0.01, "epochs": 60},
            # No other process knows the backbone, nor what a test puts in something's place.
            "processes": 1,
        } | (config or {})
        output.mkdir(parents=True, exist_ok=True)
        file = output.parent / f"{output.name}.yaml"
        file.write_text(yaml.safe_dump(settings))
        folders = ["--data", str(data), "--output", str(output), "--config", str(file)]
        clocks: list[NodeClock] = []
        printed = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            patch.setattr(NodeClock, "__post_init__", _remembering(clocks))
            exit_code = _cxr(["run", *folders, *arguments])
        layout = OutputLayout(output)
        return Outcome(
            exit_code=exit_code,
            printed=printed.getvalue(),
            how=clocks[0].how if clocks else {},
            output=output,
            summary=json.loads(layout.summary.read_text()) if layout.summary.exists() else {},
            served=snapshot(layout.serving),
        )

    return call


def _remembering(clocks: list[NodeClock]) -> Callable[[NodeClock], None]:
    original = NodeClock.__post_init__

    def post_init(self: NodeClock) -> None:
        original(self)
        clocks.append(self)

    return post_init


def _cxr(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["cxr", *arguments])
        cli.main()
    return int(stopped.value.code or 0)


_SUMMARY: dict[str, Any] = {
    "tfx_version": "1.16.0",
    "preset": "fast",
    "seed": 0,
    "data": {
        "classes": ["COVID-19", "Normal", "Viral Pneumonia"],
        "counts": {
            "train": {"COVID-19": 123, "Normal": 123, "Viral Pneumonia": 123},
            "eval": {"COVID-19": 53, "Normal": 53, "Viral Pneumonia": 53},
            "test": {"COVID-19": 43, "Normal": 43, "Viral Pneumonia": 43},
        },
        "duplicates_dropped": 2,
        "patients_in_two_splits": 0,
        "bad": 0,
        "left_out": {"duplicate": 2},
        "deviations": [],
        "could_not_know": [],
        "digest": "ab",
        "manifest": "manifest/1",
    },
    "audit": {
        "passed": True,
        "failures": [],
        "findings": ["No patient is in two splits."],
        "report": "artifacts/ShortcutAudit/audit/5/audit.json",
    },
    "models": {
        "vgg16": {
            "weights": "imagenet",
            "members": None,
            "accuracy": 122 / 129,
            "correct": 122,
            "total": 129,
            "confusion": [[40, 1, 2], [0, 43, 0], [3, 1, 39]],
            "wilson95": [0.89222, 0.97347],
            "blessed": True,
            "gate": {"accuracy": 122 / 129, "accuracy_wilson_lower": 0.89222},
            "refused_because": None,
            "baseline": None,
            "infra_validation": None,
            "pushed_to": "vgg16/17",
            "training": {"learning_rate": 0.001},
            "tuned": None,
        },
        "xception": {
            "weights": "xception_paediatric_notop.h5",
            "members": None,
            "accuracy": 43 / 129,
            "correct": 43,
            "total": 129,
            "confusion": [[0, 43, 0], [0, 43, 0], [0, 43, 0]],
            "wilson95": [0.25784, 0.41846],
            "blessed": False,
            "gate": {"accuracy": 43 / 129, "accuracy_wilson_lower": 0.25784},
            "refused_because": "accuracy 0.3333 is below 0.9 (gate.min_accuracy)",
            "baseline": None,
            "infra_validation": None,
            "pushed_to": None,
            "training": {"learning_rate": 0.001},
            "tuned": None,
        },
    },
    "champion": "vgg16",
    "champion_pushed_to": "champion/18",
    "seconds": {"RadiographExampleGen": 1.5, "total": 61.7},
}


@pytest.fixture
def example_summary() -> Callable[[Path], dict[str, Any]]:
    """Output folder -> the summary of a made-up run there: vgg16 passed, xception did not."""

    def call(output: Path) -> dict[str, Any]:
        summary = copy.deepcopy(_SUMMARY)
        serving = OutputLayout(output).serving
        for owner, key in (
            (summary, "champion_pushed_to"),
            *((model, "pushed_to") for model in summary["models"].values()),
        ):
            owner[key] = owner[key] and str(serving / owner[key])
        audit = summary["audit"]
        audit["report"] = str(OutputLayout(output).root.resolve() / audit["report"])
        return summary

    return call
