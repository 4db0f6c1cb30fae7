"""Runs `cxr kubeflow submit` against a stand-in server, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from pipeline import cli
from pipeline.kubeflow.submit_command import submit
from tests.pipeline.kubeflow.api_stand_in import StandIn

ROOT: Final = Path(__file__).parents[3]
TOKEN: Final = "s3cret-0f-a-user.aGVsbG8"

IR: Final[Mapping[str, Any]] = {
    "pipelineInfo": {"name": "chest"},
    "deploymentSpec": {"executors": {"ex": {"container": {"image": "cxr:1", "command": ["x"]}}}},
    "components": {
        "comp-a": {"executorLabel": "ex"},
        "comp-nested": {"dag": {"tasks": {"Inner": {"componentRef": {"name": "comp-a"}}}}},
    },
    "root": {
        "inputDefinitions": {
            "parameters": {
                "note": {"parameterType": "STRING", "defaultValue": "none"},
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3},
                "rate": {"parameterType": "NUMBER_DOUBLE", "isOptional": True},
                "tune": {"parameterType": "BOOLEAN", "defaultValue": False},
                "old": {"type": "INT", "defaultValue": 1},
                "table": {"parameterType": "STRUCT", "defaultValue": {}},
            }
        },
        "dag": {
            "tasks": {
                "csv-example-gen": {
                    "taskInfo": {"name": "csv-example-gen"},
                    "cachingOptions": {"enableCache": True},
                },
                "trainer-vgg16": {
                    "taskInfo": {"name": "trainer-vgg16"},
                    "cachingOptions": {"enableCache": True},
                },
            }
        },
    },
    "schemaVersion": "2.1.0",
}

# `cxr kubeflow submit` as a program of its own, without the rest of the command line.
PROGRAM: Final = (
    # What starts the tests in the background (`nohup make test &`) has its children ignore it.
    "import signal\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "import typer\n"
    "from pipeline import cli\n"
    "from pipeline.kubeflow.submit_command import submit\n"
    "cli.app = typer.Typer(pretty_exceptions_enable=False)\n"
    "cli.app.command()(submit)\n"
    "cli.main()\n"
)


@dataclass(frozen=True)
class Ran:
    """A command's end."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[StandIn]:
    """A stand-in that answers."""
    stand_in = StandIn(certificate)
    thread = threading.Thread(target=lambda: stand_in.server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.server.shutdown()
        stand_in.server.server_close()


def write_ir(folder: Path, **changes: Any) -> Path:
    file = folder / "IR.yaml"
    file.write_text(yaml.safe_dump({**IR, **changes}))
    return file


class Here:
    """Runs the command in this process, through the project's own `main`."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(submit)
        patch.setattr(cli, "app", app)
        patch.delenv("CXR_KFP_TOKEN", raising=False)
        self._patch, self._capsys = patch, capsys

    def __call__(self, *arguments: object) -> Ran:
        # First, so that a test's own comes later and counts.
        self._patch.setattr(sys, "argv", ["cxr", "--poll-seconds=0.001", *map(str, arguments)])
        self._capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


def program(
    *arguments: object, home: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts the command as a process of its own, with a home folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), "--poll-seconds", "0.02"],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
