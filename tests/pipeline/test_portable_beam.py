"""The whole DAG with its Beam nodes on a job service, in workers that are other processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.phantoms import write_phantoms

ROOT = Path(__file__).parents[2]
# RadiographExampleGen has two Beam pipelines; StatisticsGen, Transform, Featurizer and
# Evaluator have one each. Every pipeline gets a worker of its own.
BEAM_PIPELINES = 6
# No model has to pass here.
EXIT_CODES = (0, 3)


def _own_network() -> list[str]:
    """The start of a command that runs in namespaces of its own; empty where it can't."""
    unshare = shutil.which("unshare")
    if not unshare or os.geteuid() != 0:
        return []
    command = [unshare, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return [] if tried.returncode else command


def _run(tmp_path: Path, data: Path, name: str, beam: str, before: list[str]) -> Path:
    output = tmp_path / name
    command = [sys.executable, "-m", "pipeline.cli", "run", "--preset", "demo"]
    command += ["--data", str(data), "--output", str(output), "--backbones", "vgg16"]
    done = subprocess.run(
        [*before, *command, "--beam", beam],
        cwd=ROOT,
        env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in EXIT_CODES, done.stdout + done.stderr
    return output


def _digests(output: Path, node: str, artifact: str) -> dict[str, str]:
    """Split -> digest of its files; of their content alone, since names tell of the runner."""
    (root,) = (output / "artifacts" / node / artifact).iterdir()
    digests: dict[str, str] = {}
    for split in sorted(root.glob("Split-*")):
        contents = sorted(file.read_bytes() for file in split.iterdir())
        digests[split.name] = hashlib.sha256(b"".join(contents)).hexdigest()
    assert digests
    return digests


def _summary(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_every_beam_node_through_a_job_service_gives_the_same_digests(tmp_path: Path) -> None:
    network = _own_network()
    if not network:
        pytest.skip("needs root and unshare: Beam's worker pool listens on every address")
    data = write_phantoms(tmp_path / "phantoms", (14, 14, 14), size=128, seed=7)
    direct = _run(tmp_path, data, "direct", "direct", [])
    logs = tmp_path / "services"
    logs.mkdir()
    services = [*network, sys.executable, str(Path(__file__).with_name("beam_services.py"))]
    portable = _run(tmp_path, data, "portable", "portable:localhost", [*services, str(logs)])

    for node, artifact in (("RadiographExampleGen", "examples"), ("Featurizer.vgg16", "features")):
        assert _digests(portable, node, artifact) == _digests(direct, node, artifact)
    ours, theirs = _summary(portable), _summary(direct)
    assert ours["data"]["digest"] == theirs["data"]["digest"]
    assert ours["models"]["vgg16"]["confusion"] == theirs["models"]["vgg16"]["confusion"]
    assert (portable / "logs" / "run.log").read_text().count("DirectRunner") == 0
    # The pool says of each worker by which command it was started.
    started = (logs / "worker_pool_main.log").read_text().count("Starting worker with command")
    assert started == BEAM_PIPELINES
