"""What is pushed and kept, for those that look for a pushed version: folders and object stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pushed_versions.seen_images import Images, write_seen
from components.radiograph_example_gen.artifact import SplitManifest
from components.radiograph_example_gen.manifest import Entry, Summary, digest, write_manifest
from components.serving_pusher.executor import Executor as Pusher
from pipeline.kubeflow.object_stores import register_object_stores
from schema import contract

CLASSES = ("ill", "well")
NOTHING = Images()
Push = Callable[..., None]


def save_split(
    folder: Path, splits: Mapping[str, Sequence[str]], classes: Sequence[str] = CLASSES
) -> None:
    """Write a manifest, as RadiographExampleGen does.

    Args:
        folder: made where it isn't there.
        splits: split -> images, each as "content" or "content of patient".
        classes: in label order.
    """
    entries = []
    for split, images in splits.items():
        for image in images:
            content, _, patient = image.partition(" of ")
            entries.append(Entry(f"{content}.png", classes[0], patient, content, split))
    summary = Summary(
        classes=tuple(classes),
        seed=0,
        fractions={},
        images_found={},
        images_clean={},
        images_per_class=0,
        split_counts={name: dict.fromkeys(contract.SPLITS, 0) for name in classes},
        left_out={},
        duplicates_dropped=0,
        patients={},
        images_without_patient=0,
        patients_in_two_splits=0,
        digest=digest(entries),
        sources={},
        licences={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(str(folder), entries, [], summary)


def make_artifact(kind: Any, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return artifact


def make_manifest(
    folder: Path, classes: tuple[str, ...] = CLASSES, **splits: list[str]
) -> SplitManifest:
    """Split -> images, each as "content" or "content of patient"."""
    artifact = make_artifact(SplitManifest, folder)
    save_split(folder, splits, classes)
    return artifact


@pytest.fixture(params=["folder", "object store"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Folders of what is served, and of what is kept of it, empty."""
    if request.param == "folder":
        return str(tmp_path / "serving"), str(tmp_path / "pushed")
    import fsspec

    register_object_stores()
    system = fsspec.filesystem("memory")
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)
    return "memory://bucket/serving", "memory://bucket/pushed"


@pytest.fixture
def push(places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Push:
    """(version, manifest, …) pushes a model whose only file says the version."""

    def call(
        version: int,
        manifest: SplitManifest,
        *,
        blessed: bool = True,
        recipe: bool = False,
        seen: Images = NOTHING,
        statistics: bool = False,
        heads: bool = False,
    ) -> None:
        model = make_artifact(standard_artifacts.Model, tmp_path / "trained" / str(version))
        folder = Path(path_utils.serving_model_dir(model.uri))
        folder.mkdir(parents=True)
        (folder / contract.SAVED_MODEL_FILE).write_text(str(version))
        if heads:
            beside = Path(path_utils.eval_model_dir(model.uri), "variables")
            beside.mkdir(parents=True)
            (beside / "index").write_text(f"heads of {version}")
        blessing = make_artifact(standard_artifacts.ModelBlessing, tmp_path / "b" / str(version))
        blessing.set_int_custom_property("blessed", int(blessed))
        pushed = make_artifact(standard_artifacts.PushedModel, tmp_path / "p" / str(version))
        run = make_artifact(standard_artifacts.ModelRun, tmp_path / "run" / str(version))
        if recipe:
            Path(run.uri, contract.TRAINING_FILE).write_text(json.dumps({"of": version}))
        write_seen(run.uri, seen)
        inputs = {
            "model": [model],
            "model_blessing": [blessing],
            "manifest": [manifest],
            "model_run": [run],
        }
        if statistics:
            found = make_artifact(
                standard_artifacts.ExampleStatistics, tmp_path / "s" / str(version)
            )
            for split in contract.SPLITS:
                file = Path(found.uri, f"Split-{split}", "FeatureStats.pb")
                file.parent.mkdir()
                file.write_text(str(version))
            inputs["statistics"] = [found]
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places[0])
        )
        monkeypatch.setattr("time.time", lambda: version)
        context = Pusher.Context(tmp_dir=str(tmp_path / "tmp" / str(version)), unique_id="1")
        Pusher(context).Do(
            inputs,
            {"pushed_model": [pushed]},
            {
                "push_destination": json_format.MessageToJson(destination),
                "pushed": places[1],
                "custom_config": json.dumps(None),
            },
        )
        monkeypatch.undo()

    return call
