"""From a push to the next run's baseline, in folders and in an object store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pushed_baseline.executor import Executor as Baseline
from components.radiograph_example_gen.artifact import SplitManifest
from components.serving_pusher.executor import Executor as Pusher
from pipeline.kubeflow.object_stores import register_object_stores
from schema import contract
from tests.components.baseline_resolver.conftest import CLASSES, save_split


def _artifact(kind: Any, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return artifact


def _manifest(
    folder: Path, classes: tuple[str, ...] = CLASSES, **splits: list[str]
) -> SplitManifest:
    """Split -> images, each as "content" or "content of patient"."""
    artifact = _artifact(SplitManifest, folder)
    save_split(folder, splits, classes)
    return artifact


@pytest.fixture(params=["folder", "object store"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Serving folder and history, empty."""
    if request.param == "folder":
        return str(tmp_path / "serving"), str(tmp_path / "history")
    import fsspec

    register_object_stores()
    system = fsspec.filesystem("memory")
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)
    return "memory://bucket/serving", "memory://bucket/history"


@pytest.fixture
def push(
    places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """(version, manifest, blessed) pushes a model whose only file says the version."""

    def call(version: int, manifest: SplitManifest, *, blessed: bool = True) -> None:
        model = _artifact(standard_artifacts.Model, tmp_path / "trained" / str(version))
        folder = Path(path_utils.serving_model_dir(model.uri))
        folder.mkdir(parents=True)
        (folder / contract.SAVED_MODEL_FILE).write_text(str(version))
        blessing = _artifact(standard_artifacts.ModelBlessing, tmp_path / "b" / str(version))
        blessing.set_int_custom_property("blessed", int(blessed))
        pushed = _artifact(standard_artifacts.PushedModel, tmp_path / "p" / str(version))
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places[0])
        )
        monkeypatch.setattr("time.time", lambda: version)
        Pusher().Do(
            {"model": [model], "model_blessing": [blessing], "manifest": [manifest]},
            {"pushed_model": [pushed]},
            {
                "push_destination": json_format.MessageToJson(destination),
                "history": places[1],
                "custom_config": json.dumps(None),
            },
        )
        monkeypatch.undo()

    return call


@pytest.fixture
def baseline(places: tuple[str, str], tmp_path: Path) -> Callable[[SplitManifest], str | None]:
    """(manifest) looks for the baseline; what its only file says, None where there is none."""

    def call(manifest: SplitManifest) -> str | None:
        model = _artifact(standard_artifacts.Model, tmp_path / "baseline")
        Baseline().Do(
            {"manifest": [manifest]},
            {"model": [model]},
            {"serving": places[0], "history": places[1]},
        )
        file = Path(path_utils.serving_model_dir(model.uri), contract.SAVED_MODEL_FILE)
        found = file.read_text() if file.exists() else None
        assert (found is None) == (not model.has_custom_property("version"))
        return found

    return call


Push = Callable[..., None]
Find = Callable[[SplitManifest], "str | None"]


def test_without_a_push_there_is_none(baseline: Find, tmp_path: Path) -> None:
    assert baseline(_manifest(tmp_path / "m", test=["a"])) is None


def test_the_latest_push_is(push: Push, baseline: Find, tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest)
    push(10, manifest)
    assert baseline(manifest) == "10"


def test_what_is_refused_is_neither_pushed_nor_kept(
    push: Push, baseline: Find, places: tuple[str, str], tmp_path: Path
) -> None:
    manifest = _manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest, blessed=False)
    assert baseline(manifest) is None
    assert not fileio.exists(places[1])


@pytest.mark.parametrize("splits", [{"train": ["a"]}, {"eval": ["a"]}, {"train": ["z of p"]}])
def test_whoever_knows_the_answers_is_passed_over(
    splits: dict[str, list[str]], push: Push, baseline: Find, tmp_path: Path
) -> None:
    push(1, _manifest(tmp_path / "fair", train=["t"]))
    push(2, _manifest(tmp_path / "knows", CLASSES, **splits))
    assert baseline(_manifest(tmp_path / "m", train=["t"], test=["a of p"])) == "1"


def test_other_classes_are_passed_over(push: Push, baseline: Find, tmp_path: Path) -> None:
    push(1, _manifest(tmp_path / "other", ("well", "ill"), train=["t"]))
    assert baseline(_manifest(tmp_path / "m", train=["t"], test=["a"])) is None


def test_a_version_nobody_kept_anything_of_is_passed_over(
    push: Push, baseline: Find, places: tuple[str, str], tmp_path: Path
) -> None:
    manifest = _manifest(tmp_path / "m", train=["t"], test=["a"])
    push(1, manifest)
    push(2, manifest)
    fileio.rmtree(f"{places[1]}/2")
    assert baseline(manifest) == "1"
