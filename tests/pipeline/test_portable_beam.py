"""The whole DAG with its Beam nodes on a job service, in workers that are other processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
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


def _own_network() -> list[str]:
    """The start of a command that runs in namespaces of its own; empty where it can't."""
    unshare = shutil.which("unshare")
    if not unshare or os.geteuid() != 0:
        return []
    command = [unshare, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return [] if tried.returncode else command


def _digests(output: Path, node: str, artifact: str) -> dict[str, str]:
    """Split -> digest of its files; of their content alone, since names tell of the runner."""
    (root,) = (output / "artifacts" / node / artifact).iterdir()
    digests: dict[str, str] = {}
    for split in sorted(root.glob("Split-*")):
        contents = sorted(file.read_bytes() for file in split.iterdir())
        digests[split.name] = hashlib.sha256(b"".join(contents)).hexdigest()
    assert digests
    return digests


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_every_beam_node_through_a_job_service_gives_the_same_digests(
    tmp_path: Path, golden: GoldenRun
) -> None:
    """The same as the golden run, whose Beam nodes ran in its own process."""
    network = _own_network()
    if not network:
        pytest.skip("needs root and unshare: Beam's worker pool listens on every address")
    logs, output = tmp_path / "services", tmp_path / "portable"
    logs.mkdir()
    services = [sys.executable, str(Path(__file__).with_name("beam_services.py")), str(logs)]
    command = [sys.executable, "-m", "tests.miniatures", "run", "--data", str(golden.data)]
    command += ["--config", str(golden.folder / "settings.yaml"), "--backbones", "vgg16"]
    done = subprocess.run(
        [*network, *services, *command, "--output", str(output), "--beam", "portable:localhost"],
        cwd=ROOT,
        env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": f"{MINIATURES}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    direct = golden.layout.root
    for node, artifact in (("RadiographExampleGen", "examples"), ("Featurizer.vgg16", "features")):
        assert _digests(output, node, artifact) == _digests(direct, node, artifact)
    ours: dict[str, Any] = json.loads((output / "summary.json").read_text())
    theirs = golden.summary
    assert ours["data"]["digest"] == theirs["data"]["digest"]
    assert ours["models"]["vgg16"]["confusion"] == theirs["models"]["vgg16"]["confusion"]
    assert (output / "logs" / "run.log").read_text().count("DirectRunner") == 0
    # The pool says of each worker by which command it was started.
    started = (logs / "worker_pool_main.log").read_text().count("Starting worker with command")
    assert started == BEAM_PIPELINES
