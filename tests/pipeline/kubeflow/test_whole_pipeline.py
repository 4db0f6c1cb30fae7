"""The whole pipeline as KFP v2 IR, over three spans, beside LocalDagRunner's golden run."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components.pushed_versions.seen_images import SEEN_FILE
from components.radiograph_example_gen.manifest import read_manifest, read_summary
from pipeline.kubeflow import local_run
from pipeline.kubeflow.ir import Pipeline, pipeline_of
from pipeline.kubeflow.package import parameters_from, read_package
from pipeline.kubeflow.screen import Screen
from pipeline.phantoms import write_phantoms
from schema import contract
from tests.golden_run import SETTINGS
from tests.pipeline.kubeflow.preloaded_steps import PreloadedSteps
from tests.pipeline.kubeflow.whole_runs import cxr

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]


# Nobody waits for them.
_ENDS = {"champion", "pusher-champion", "report"}


@dataclass(frozen=True)
class Runs:
    """Of the IR.

    Attributes:
        ir: compiled once; models are pushed beside it.
        folders: the last span -> the folder of its run.
        shown: what was printed on standard output, of the first run.
    """

    ir: Path
    folders: dict[int, Path]
    shown: str


@pytest.fixture(scope="module")
def steps() -> Iterator[PreloadedSteps]:
    """Runs each step in a process of its own."""
    made = PreloadedSteps()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The IR, with the golden run's settings as far as there is one backbone and no other model."""
    folder = tmp_path_factory.mktemp("kubeflow")
    settings = {
        **SETTINGS,
        "backbones": ["vgg16"],
        "data": {"max_drift": 0.99},
        # Pushed whatever chance says: what is tested is which models meet.
        "gate": {"min_accuracy": 0.0, "baseline_significance": 1e-6},
        "training": {**SETTINGS["training"], "head": {"kind": "paper"}},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = cxr(
        "kubeflow", "compile", "--config", folder / "settings.yaml",
        "--data", f"{folder}/images/span-{{SPAN}}", "--output", folder / "ir.yaml",
        "--serving", folder / "serving", "--pushed", folder / "pushed",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "ir.yaml"


def _reduced(pipeline: Pipeline, wanted: set[str]) -> Pipeline:
    tasks = tuple(task for task in pipeline.tasks if task.name in wanted)
    return dataclasses.replace(pipeline, tasks=tasks)


@pytest.fixture(scope="module")
def runs(ir: Path, golden: GoldenRun, steps: PreloadedSteps) -> Iterator[Runs]:
    """Three of them. The first one is over the golden run's images.

    The second one pushes a model, and ends. The third one ends after drift, and has lost the
    first span's folder.
    """
    images = ir.parent / "images"
    package, pipeline = read_package(ir), pipeline_of(read_package(ir), ir)
    found, shown = {}, ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_run, "_runner", lambda *_: steps)
        for number in (1, 2, 3):
            if number == 1:
                shutil.copytree(golden.data, images / "span-1")
            else:
                write_phantoms(images / f"span-{number}", (9, 10, 8), size=128, seed=number)
            if number == 2:
                # Which model is the best, and what is written of it, was shown once.
                pipeline = _reduced(pipeline, {task.name for task in pipeline.tasks} - _ENDS)
            if number == 3:
                shutil.rmtree(images / "span-1")
                pipeline = _reduced(pipeline, {"radiograph-example-gen", "span-drift"})
            # A parameter of the run: the IR is compiled once.
            given = parameters_from(package, ["window=1"] if number == 2 else [])
            output = ir.parent / f"run-{number}"
            printed = io.StringIO()
            assert local_run.run_ir(
                pipeline, pipeline.values(given), output, jobs=1, retries=False,
                screen=Screen(printed),
            ), printed.getvalue()  # fmt: skip
            (found[number],) = (each for each in output.iterdir() if each.name != "logs")
            shown = shown or printed.getvalue()
        yield Runs(ir, found, shown)


def _outputs(run: Path, step: str, name: str) -> dict[str, Any]:
    output = json.loads((run / step / "executor_output.json").read_text())
    artifact: dict[str, Any] = output["artifacts"][name]["artifacts"][0]
    return artifact


def _places(manifest: Path) -> dict[str, str]:
    return {entry.sha256: entry.split for entry in read_manifest(str(manifest)) if entry.split}


def _note(run: Path, name: str) -> Any:
    return json.loads((run / "trainer-vgg16" / "model_run" / name).read_text())


def test_it_comes_to_the_same_as_the_local_runner(runs: Runs, golden: GoldenRun) -> None:
    run = runs.folders[1]
    for step in ("radiograph-example-gen", "featurizer-vgg16", "champion", "report"):
        assert f"SUCCEEDED  {step}" in runs.shown
    assert "without Kubernetes" in runs.shown
    summary = read_summary(str(run / "radiograph-example-gen" / "manifest"))
    assert summary["digest"] == golden.summary["data"]["digest"]
    blessing = _outputs(run, "evaluator-vgg16", "blessing")
    assert (blessing["metadata"]["blessed"] == 1.0) == golden.summary["models"]["vgg16"]["blessed"]
    assert golden.summary["models"]["vgg16"]["blessed"]
    champion = _outputs(run, "champion", "blessing")
    assert champion["metadata"]["blessed"] == 1.0
    served, pushed = runs.ir.parent / "serving", runs.ir.parent / "pushed"
    versions = sorted((served / "vgg16").iterdir(), key=lambda version: int(version.name))
    # The third run trains nothing.
    assert len(versions) == 2
    assert len(list((served / "champion").iterdir())) == 1
    for version in versions:
        assert (version / "saved_model.pb").is_file()
        assert (pushed / "vgg16" / version.name / "manifest.csv").is_file()
    report = json.loads((run / "report" / "report" / "report.json").read_text())
    assert report


def test_nobody_moves_though_a_folder_is_gone(runs: Runs) -> None:
    before: dict[str, str] = {}
    spans = {1: {"span-1"}, 2: {"span-2"}, 3: {"span-2", "span-3"}}
    for number, run in runs.folders.items():
        manifest = run / "radiograph-example-gen" / "manifest"
        entries = read_manifest(str(manifest))
        assert {entry.file.partition("/")[0] for entry in entries} == spans[number]
        now = _places(manifest)
        assert all(before.get(sha256, split) == split for sha256, split in now.items())
        before |= now
    (kept,) = (runs.folders[3] / "radiograph-example-gen/manifest/splits").glob("*.csv")
    # Also those that were left out for balance.
    assert len(kept.read_text().splitlines()) == 1 + 99 + 27 + 27


def test_training_goes_on_from_what_was_pushed(runs: Runs) -> None:
    one, two = runs.folders[1], runs.folders[2]
    # In a first run there is nothing to go on from.
    assert not (one / "trainer-vgg16/model_run" / contract.CONTINUED_FILE).exists()
    assert not (one / "trainer-vgg16/model_run" / SEEN_FILE).exists()
    note = _note(two, contract.CONTINUED_FILE)
    assert note["continued"], note
    # It has seen what the first one was trained with, which its own manifest doesn't know.
    first = _places(one / "radiograph-example-gen/manifest")
    seen = {sha256 for sha256, split in first.items() if split in ("train", "eval")}
    assert set(_note(two, SEEN_FILE)["hashes"]) == seen
    pushed = runs.ir.parent / "pushed/vgg16"
    old, new = sorted(pushed.iterdir(), key=lambda version: int(version.name))
    assert not (old / SEEN_FILE).exists()
    assert json.loads((new / SEEN_FILE).read_text())["hashes"] == sorted(seen)
    assert (new / contract.TRAINING_FILE).is_file()


def test_parameters_count_and_a_failure_stops_what_stands_behind_it(
    ir: Path, tmp_path: Path
) -> None:
    """By the command, and with processes as it makes them."""
    done = cxr(
        "kubeflow", "run-local", ir, "--output", tmp_path, "--no-retries",
        "--parameter", f"data={tmp_path / 'none'}/{{SPAN}}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "FAILED     radiograph-example-gen" in done.stdout
    assert "is no folder" in " ".join(done.stdout.split())
    assert "SKIPPED    report" in done.stdout
    assert "SUCCEEDED  curated-schema-gen" in done.stdout
