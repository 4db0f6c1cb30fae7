"""The whole pipeline in containers of the image that kubeflow/Dockerfile makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.pipeline.kubeflow.whole_runs import compile_to, cxr, draw_images

IMAGE: Final = os.environ.get("CXR_KUBEFLOW_IMAGE", "")


def _lacking() -> str | None:
    """What these tests need and don't have."""
    if not IMAGE:
        return "CXR_KUBEFLOW_IMAGE names no image"
    if shutil.which("docker") is None:
        return "there is no docker command"
    command = ["docker", "image", "inspect", IMAGE]
    found = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return None if found.returncode == 0 else f"no daemon has the image {IMAGE}"


LACKING: Final = _lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        LACKING is not None,
        reason=f"{LACKING}; `scripts/kubeflow_image.sh .venv/bin/python -m pytest -m long "
        "tests/pipeline/kubeflow/test_containers.py` builds one (root, debootstrap, dockerd)",
    ),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 phantoms of 96 pixels."""
    return draw_images(tmp_path_factory.mktemp("images"))


def test_every_step_runs_in_a_container_of_its_own(images: Path, tmp_path: Path) -> None:
    ir = compile_to(tmp_path, images, "--image", IMAGE)
    done = cxr(
        "kubeflow", "run-local", ir, "--docker", "--mount", images, "--mount", tmp_path,
        "--output", tmp_path / "runs", "--no-retries", timeout=2300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = [folder for folder in (tmp_path / "runs").iterdir() if folder.name != "logs"]
    output = json.loads((run / "evaluator-vgg16" / "executor_output.json").read_text())
    blessing: dict[str, Any] = output["artifacts"]["blessing"]["artifacts"][0]
    assert blessing["metadata"]["blessed"] == 1.0
    assert list((tmp_path / "serving" / "champion").glob("*/saved_model.pb"))
    assert (run / "report" / "report" / "index.html").is_file()
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True
    )
    assert listed.stdout == ""


def test_a_step_that_needs_more_memory_than_it_may_is_named(images: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps({"kubeflow": {"resources": {"default": {"memory": "200Mi"}}}}), "utf-8"
    )
    ir = compile_to(tmp_path, images, "--image", IMAGE, "--config", str(config))
    done = cxr(
        "kubeflow", "run-local", ir, "--docker", "--mount", images,
        "--output", tmp_path / "runs", "--no-retries", timeout=2300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "FAILED     curated-schema-gen" in done.stdout
    assert "out of memory: more than 0.2 GB" in done.stdout


def test_the_image_holds_no_weights_and_is_no_roots() -> None:
    def inside(*words: str) -> str:
        command = ["docker", "run", "--rm", "--network", "none", IMAGE, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert inside("id", "--user").strip() == "10001"
    # By the name of Keras' files; h5py has others, for its own tests.
    assert inside("find", "/opt", "-name", "*_notop*") == ""
    assert "kubeflow" in inside("cxr", "--help")
