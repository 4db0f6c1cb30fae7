"""Whole runs in which TFX's InfraValidator serves models in Docker before they are pushed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.resolve.docker import SERVING_IMAGE as IMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipeline.conftest import Run

TAG: Final = os.environ.get("CXR_SERVING_TAG", "")
EMPTY_TAG: Final = "cxr-empty"


def _docker(*arguments: str, sent: bytes = b"") -> bool:
    """Whether a docker command went well."""
    command = ["docker", *arguments]
    return subprocess.run(command, input=sent, capture_output=True, timeout=60).returncode == 0


def _lacking() -> str | None:
    """What these tests need and don't have."""
    if not TAG:
        return f"CXR_SERVING_TAG names no tag of {IMAGE}"
    if shutil.which("docker") is None or not _docker("version"):
        return "no Docker daemon answers"
    return None if _docker("image", "inspect", f"{IMAGE}:{TAG}") else f"no image {IMAGE}:{TAG}"


LACKING: Final = _lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        LACKING is not None,
        reason=f"{LACKING}. Pull {IMAGE} and set CXR_SERVING_TAG; or, for the embedded server in "
        "a container, `scripts/docker_stand_in.sh with .venv/bin/python -m pytest "
        "tests/pipeline/test_docker_infra.py`",
    ),
]


@pytest.fixture
def empty_image() -> Iterator[str]:
    """Tag of an image without a server: its containers don't start."""
    name = f"{IMAGE}:{EMPTY_TAG}"
    end_of_tar = bytes(1024)
    assert _docker("import", "--change", 'ENTRYPOINT ["/none"]', "-", name, sent=end_of_tar)
    yield EMPTY_TAG
    assert _docker("image", "rm", name)


def _in_docker(tag: str) -> dict[str, Any]:
    return {"infra_validation": {"mode": "docker", "images": 2, "docker_tags": [tag]}}


def test_only_what_a_container_serves_is_pushed(
    run: Run, tmp_path: Path, empty_image: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = run(tmp_path / "output", config=_in_docker(empty_image))
    assert refused.exit_code == cli.EXIT_NONE_BLESSED, refused.printed
    assert "InfraValidator.tiny" in refused.executed
    tiny = refused.summary["models"]["tiny"]
    assert tiny["blessed"]
    assert tiny["infra_validation"] == {"passed": False, "failures": []}
    assert tiny["pushed_to"] is None
    assert refused.summary["champion"] is None
    assert "tiny can't be served: TensorFlow Serving in Docker; see logs/run.log" in refused.printed
    assert not list(OutputLayout(refused.output).serving.glob("*/*"))
    assert '"/none"' in caplog.text
    caplog.clear()

    passed = run(tmp_path / "output", config=_in_docker(TAG))
    assert passed.exit_code == cli.EXIT_PUSHED, passed.printed
    assert {"InfraValidator.tiny", "Champion", "Pusher.tiny", "Pusher.champion"} <= passed.executed
    assert "Trainer.tiny" in passed.cached
    assert "run in LOAD_AND_QUERY mode" in caplog.text
    assert "Model passed infra validation" in caplog.text
    tiny = passed.summary["models"]["tiny"]
    assert tiny["infra_validation"] == {"passed": True, "failures": []}
    assert tiny["pushed_to"] is not None
    assert passed.summary["champion"] == "tiny"
