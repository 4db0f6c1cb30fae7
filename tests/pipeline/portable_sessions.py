"""Runs of the whole DAG on a job service, in a network of their own, with and without faults."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

ROOT = Path(__file__).parents[2]
# RadiographExampleGen has two Beam pipelines; StatisticsGen, Transform, Featurizer and
# Evaluator have one each. Every pipeline gets a worker of its own.
BEAM_PIPELINES = 6
# With it on PYTHONPATH, the workers' backbones are miniatures, too.
MINIATURES = Path(__file__).with_name("miniature_workers")


@dataclass(frozen=True)
class Attempt:
    """What one run came to.

    Attributes:
        exit_code: of `cxr run`.
        printed: standard output and standard error.
        seconds: with the start of services that weren't there.
        workers: that our pool started meanwhile.
    """

    exit_code: int
    printed: str
    seconds: float
    workers: int

    @property
    def sentence(self) -> str:
        """What it ended with; one line, or none is."""
        lines = [line for line in self.printed.splitlines() if line.startswith("cxr: ")]
        assert len(lines) == 1, self.printed
        return lines[0]


@dataclass(frozen=True)
class Session:
    """What `beam_services.py` is told.

    Attributes:
        logs: folder, of the services' logs.
        outcomes: file that it writes.
        prism: the program; empty for the job service that Beam has in Python.
        command: `cxr run …`, without --beam.
        attempts: names of methods of `beam_services.Place`, in order.
    """

    logs: str
    outcomes: str
    prism: str
    command: list[str]
    attempts: list[str]


def own_network() -> list[str]:
    """The start of a command that runs in namespaces of its own. Skips the test where it can't."""
    unshare = shutil.which("unshare")
    if unshare and os.geteuid() == 0:
        command = [unshare, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if not subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
            return command
    pytest.skip("needs root and unshare: job services listen on every address")


def run_session(
    folder: Path, golden: GoldenRun, attempts: list[str], prism: str = ""
) -> dict[str, Attempt]:
    """All attempts into one output folder, `portable` below the folder; with vgg16 alone."""
    network = own_network()
    logs = folder / "services"
    logs.mkdir()
    command = [sys.executable, "-m", "tests.miniatures", "run", "--data", str(golden.data)]
    command += ["--config", str(golden.folder / "settings.yaml"), "--backbones", "vgg16"]
    command += ["--output", str(folder / "portable")]
    session = Session(str(logs), str(folder / "outcomes.json"), prism, command, attempts)
    file = folder / "session.json"
    file.write_text(json.dumps(asdict(session)))
    done = subprocess.run(
        [*network, sys.executable, str(Path(__file__).with_name("beam_services.py")), str(file)],
        cwd=ROOT,
        env=os.environ | {"HOME": str(folder), "PYTHONPATH": f"{MINIATURES}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "".join(f"\n--- {log.name}\n{log.read_text()[-4000:]}" for log in logs.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + said
    outcomes: dict[str, Any] = json.loads(Path(session.outcomes).read_text())
    for name, outcome in outcomes.items():
        # With -s, or where the test fails.
        print(f"--- {name}: {outcome['exit_code']} after {outcome['seconds']} s")
        print(outcome["printed"][-2000:])
    print(said)
    return {name: Attempt(**outcome) for name, outcome in outcomes.items()}


def assert_same_as_direct(output: Path, golden: GoldenRun) -> None:
    """Split, features and metrics are the golden run's, whose Beam nodes ran in its own process."""
    direct = golden.layout.root
    for node, artifact in (("RadiographExampleGen", "examples"), ("Featurizer.vgg16", "features")):
        assert _digests(output, node, artifact) == _digests(direct, node, artifact)
    ours: dict[str, Any] = json.loads((output / "summary.json").read_text())
    theirs = golden.summary
    assert ours["data"]["digest"] == theirs["data"]["digest"]
    for key in ("accuracy", "correct", "total", "confusion", "wilson95"):
        assert ours["models"]["vgg16"][key] == theirs["models"]["vgg16"][key]
    assert (output / "logs" / "run.log").read_text().count("DirectRunner") == 0


def _digests(output: Path, node: str, artifact: str) -> dict[str, str]:
    """Split -> digest of its files; of their content alone, since names tell of the runner.

    Of the last execution: those before it may be of a run that was disturbed.
    """
    root = max((output / "artifacts" / node / artifact).iterdir(), key=lambda path: int(path.name))
    digests: dict[str, str] = {}
    for split in sorted(root.glob("Split-*")):
        contents = sorted(file.read_bytes() for file in split.iterdir())
        digests[split.name] = hashlib.sha256(b"".join(contents)).hexdigest()
    assert digests
    return digests
