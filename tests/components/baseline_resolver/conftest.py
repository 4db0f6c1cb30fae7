"""Manifests, models, and a metadata store in memory whose lineage connects them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from components.radiograph_example_gen.artifact import SplitManifest
from components.radiograph_example_gen.manifest import Entry, Summary, digest, write_manifest
from schema import contract

CLASSES = ("ill", "well")
# split -> images, each as "content" or "content of patient".
Splits = Mapping[str, Sequence[str]]


def save_split(folder: Path, splits: Splits, classes: Sequence[str] = CLASSES) -> None:
    """Writes a manifest, as RadiographExampleGen does."""
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


def _write_model(folder: Path) -> None:
    """As much of a SavedModel as the strategy looks at."""
    (folder / "Format-Serving").mkdir(parents=True)
    (folder / "Format-Serving" / "saved_model.pb").touch()


@pytest.fixture
def write_split() -> Callable[..., None]:
    """(folder, splits, classes) writes a manifest, as RadiographExampleGen does."""
    return save_split


@pytest.fixture
def write_model() -> Callable[[Path], None]:
    """(folder) writes a model, as Trainer does."""
    return _write_model


@dataclass
class Lineage:
    """Registers artifacts and executions.

    Attributes:
        store: where.
        root: the artifacts' folders are below it.
    """

    store: mlmd.MetadataStore
    root: Path

    def artifact(self, type_name: str) -> Any:
        """A new artifact, without its folder."""
        type_id = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=type_name))
        stored = metadata_store_pb2.Artifact(type_id=type_id)
        (stored.id,) = self.store.put_artifacts([stored])
        stored.uri = str(self.root / type_name / str(stored.id))
        self.store.put_artifacts([stored])
        known = {"Model": standard_artifacts.Model, "ModelRun": standard_artifacts.ModelRun}
        artifact = known[type_name]() if type_name in known else stored
        artifact.id, artifact.uri = stored.id, stored.uri
        return artifact

    def execution(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        kind: str = "",
        keys: Mapping[int, str] | None = None,
    ) -> None:
        """An execution with its events; they are of another kind with `kind="INTERNAL_"`.

        `keys`: artifact's id → its input key, where that matters.
        """
        type_id = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Node"))
        execution = metadata_store_pb2.Execution(type_id=type_id)
        (number,) = self.store.put_executions([execution])
        self.store.put_events(
            metadata_store_pb2.Event(
                execution_id=number,
                artifact_id=artifact.id,
                type=metadata_store_pb2.Event.Type.Value(kind + direction),
                path=metadata_store_pb2.Event.Path(
                    steps=[
                        metadata_store_pb2.Event.Path.Step(key=key)
                        for key in [(keys or {}).get(artifact.id)]
                        if key
                    ]
                ),
            )
            for direction, artifacts in (("INPUT", inputs), ("OUTPUT", outputs))
            for artifact in artifacts
        )

    def split(self, splits: Splits, classes: Sequence[str] = CLASSES) -> tuple[Any, Any]:
        """RadiographExampleGen's two artifacts: the examples, and the manifest beside them."""
        examples, manifest = self.artifact("Examples"), self.artifact(SplitManifest.TYPE_NAME)
        save_split(Path(manifest.uri), splits, classes)
        self.execution([], [examples, manifest])
        return examples, manifest

    def train(self, *examples: Any, start: Any = None) -> Any:
        """Transform, Featurizer and Trainer; returns the model, as a resolver gets it.

        `start`: the model that training goes on from. Beside the model lies its `ModelRun`.
        """
        transformed, features = self.artifact("Examples"), self.artifact("Examples")
        weights, model = self.artifact("Model"), self.artifact("Model")
        self.execution([], [weights])
        self.execution(examples, [transformed])
        self.execution([transformed, weights], [features])
        before = [] if start is None else [start]
        keys = {each.id: "previous_model" for each in before}
        run = self.artifact("ModelRun")
        self.execution([features, weights, *before], [model, run], keys=keys)
        _write_model(Path(model.uri))
        return model

    def model(self, splits: Splits, classes: Sequence[str] = CLASSES) -> Any:
        """A model with a split of its own."""
        return self.train(self.split(splits, classes)[0])


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    """An empty one, in memory."""
    config = metadata_store_pb2.ConnectionConfig()
    config.fake_database.SetInParent()
    return Lineage(mlmd.MetadataStore(config), tmp_path)
