"""The whole pipeline as KFP v2 IR, step by step in processes, beside LocalDagRunner's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.radiograph_example_gen.manifest import read_summary
from tests.pipeline.kubeflow.whole_runs import SETTINGS, compile_to, cxr, draw_images

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 phantoms of 96 pixels."""
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def ir(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The IR; models are pushed beside it."""
    return compile_to(tmp_path_factory.mktemp("ir"), images)


@pytest.fixture(scope="module")
def local(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of the same run by LocalDagRunner."""
    output = tmp_path_factory.mktemp("local")
    done = cxr("run", "--data", images, "--output", output, *SETTINGS)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


def _outputs(run: Path, step: str, name: str) -> dict[str, Any]:
    output = json.loads((run / step / "executor_output.json").read_text())
    artifact: dict[str, Any] = output["artifacts"][name]["artifacts"][0]
    return artifact


def test_it_comes_to_the_same_as_the_local_runner(
    ir: Path, local: dict[str, Any], tmp_path: Path
) -> None:
    done = cxr("kubeflow", "run-local", ir, "--output", tmp_path, "--jobs", "2", "--no-retries")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = [folder for folder in tmp_path.iterdir() if folder.name != "logs"]
    for step in ("radiograph-example-gen", "featurizer-vgg16", "champion", "report"):
        assert f"SUCCEEDED  {step}" in done.stdout
    assert "without Kubernetes" in done.stdout
    summary = read_summary(str(run / "radiograph-example-gen" / "manifest"))
    assert summary["digest"] == local["data"]["digest"]
    blessing = _outputs(run, "evaluator-vgg16", "blessing")
    assert (blessing["metadata"]["blessed"] == 1.0) == local["models"]["vgg16"]["blessed"]
    assert local["models"]["vgg16"]["blessed"]
    champion = _outputs(run, "champion", "blessing")
    assert champion["metadata"]["blessed"] == 1.0
    (version,) = (ir.parent / "serving" / "vgg16").iterdir()
    assert (version / "saved_model.pb").is_file()
    assert len(list((ir.parent / "serving" / "champion").iterdir())) == 1
    assert (ir.parent / "history" / "vgg16" / version.name / "manifest.csv").is_file()
    report = json.loads((run / "report" / "report" / "report.json").read_text())
    assert report


def test_parameters_count_and_a_failure_stops_what_stands_behind_it(
    ir: Path, tmp_path: Path
) -> None:
    done = cxr(
        "kubeflow", "run-local", ir, "--output", tmp_path, "--no-retries",
        "--parameter", f"data={tmp_path / 'none'}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "FAILED     radiograph-example-gen" in done.stdout
    assert "is no folder" in done.stdout or "none" in done.stdout
    assert "SKIPPED    report" in done.stdout
    assert "SUCCEEDED  curated-schema-gen" in done.stdout
