"""What ModelCombiner writes: the files of a Trainer, for a model made of models."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx import v1 as tfx  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.model_combiner import ModelCombiner  # noqa: E402
from components.model_combiner.executor import Executor, input_key  # noqa: E402
from components.pushed_versions.seen_images import Images, read_seen, write_seen  # noqa: E402
from models import combined_model, evaluation_model, signatures  # noqa: E402
from models.boundary import FeatureSpec  # noqa: E402
from models.predictions import Predictions, read_predictions, write_predictions  # noqa: E402
from models.saved_functions import load_functions  # noqa: E402
from schema import contract  # noqa: E402

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]


def _png(number: int) -> bytes:
    """A grey image, brighter the higher the number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64), 20 * number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [_png(number) for number in range(12)]
# Images 3 and 8 lie close to the border, on the wrong side.
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2])
# Images and patients of the models that the members went on from.
SEEN = {"cheap": Images(frozenset({"a"}), frozenset({"p"})), "dear": Images(frozenset({"b"}))}


Members = Mapping[str, Path]


class Member(tf.Module):
    """Tells classes apart by the brightness; `steepness` says how surely."""

    parts = ()

    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.weights = [tf.Variable(steepness)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        brightness = tf.map_fn(
            lambda png: tf.reduce_mean(tf.cast(tf.io.decode_png(png, channels=1), tf.float32)),
            pngs,
            fn_output_signature=tf.float32,
        )
        return self._answers(brightness)

    @tf.function(input_signature=[tf.TensorSpec([None, 256, 256, 1], tf.float32)])
    def network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answers(tf.reduce_mean(pixels, axis=[1, 2, 3]))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 256, 256, 1], tf.float32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ]
    )
    def evidence(
        self, pixels: tf.Tensor, rows: tf.Tensor, classes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        parts = (
            tf.gather(pixels, rows)[..., 0]
            * tf.cast(classes, tf.float32)[:, tf.newaxis, tf.newaxis]
        )
        return dict.fromkeys((contract.FLAT, contract.HIERARCHICAL), parts * self.weights[0])

    @tf.function
    def answers(self, features: dict[str, dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        (given,) = features.values()
        return self._answers(given["brightness"])

    def _answers(self, brightness: tf.Tensor) -> dict[str, tf.Tensor]:
        distance = tf.abs(brightness[:, tf.newaxis] - [20.0, 110.0, 200.0]) / 110
        logits = -self.weights[0] * distance
        return {
            contract.FLAT: tf.nn.softmax(logits),
            contract.HIERARCHICAL: tf.nn.softmax(0.5 * logits),
        }


@pytest.fixture(scope="module")
def transform_graph(golden: GoldenRun) -> Path:
    """The project's preprocessing, as Transform writes it."""
    (graph,) = (golden.layout.artifacts / "Transform" / "transform_graph").iterdir()
    return graph


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Input key → folder: a cheap member, sure of little, and a dear one, sure of much."""
    root = tmp_path_factory.mktemp("members")
    folders = {}
    hashes = tuple(f"{i:064x}" for i in range(len(IMAGES)))
    for name, steepness, cost in (("cheap", 4.0, 100), ("dear", 20.0, 1000)):
        member = Member(steepness)
        model, run = root / name / "model", root / name / "run"
        run.mkdir(parents=True)
        tf.saved_model.save(member, str(model / "Format-Serving"))
        brightness = FeatureSpec((), "float32")
        member.gate = None
        member.members = {name: evaluation_model.Member(name, {"brightness": brightness})}
        feature = tf.TensorSpec([None], tf.float32)
        member.answers.get_concrete_function({name: {"brightness": feature}})
        evaluation_model.write(member, str(model / "Format-TFMA"))
        answers = {k: v.numpy() for k, v in member.classify(tf.constant(IMAGES)).items()}
        write_predictions(str(run), Predictions(hashes, LABELS, answers, cost))
        write_seen(str(run), SEEN[name])
        folders[input_key("model", name)] = model
        folders[input_key("run", name)] = run
    return folders


def _artifact(kind: Any, folder: Path) -> list[Any]:
    artifact = kind()
    artifact.uri = str(folder)
    return [artifact]


@pytest.fixture(scope="module")
def made(
    members: Members, transform_graph: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Kind → the folder with `model` and `model_run`; each from the executor by itself."""

    def run(kind: str) -> Path:
        root = tmp_path_factory.mktemp(kind)
        inputs = {
            key: _artifact(
                standard_artifacts.Model
                if key.startswith("model")
                else standard_artifacts.ModelRun,
                folder,
            )
            for key, folder in members.items()
        }
        inputs["transform_graph"] = _artifact(standard_artifacts.TransformGraph, transform_graph)
        outputs = {
            "model": _artifact(standard_artifacts.Model, root / "model"),
            "model_run": _artifact(standard_artifacts.ModelRun, root / "model_run"),
        }
        properties = {
            "kind": kind,
            "classes": json.dumps(CLASSES),
            "abstain_accuracy": 0.95,
            "code_digest": "",
        }
        Executor().Do(inputs, outputs, properties)
        return root

    return {kind: run(kind) for kind in ("ensemble", "cascade")}


@pytest.fixture(scope="module")
def served(made: dict[str, Path]) -> dict[str, Any]:
    """Kind → what the tests ask of the SavedModel, as it comes back."""
    asked = {"names": ("classify",), "signatures": (contract.SIGNATURE_DEFAULT,)}
    return {
        kind: load_functions(str(folder / "model" / "Format-Serving"), **asked)
        for kind, folder in made.items()
    }


@pytest.mark.parametrize("kind", ["ensemble", "cascade"])
def test_what_is_served_are_the_answers_on_which_the_rule_was_fitted(
    kind: str, made: dict[str, Path], served: dict[str, Any]
) -> None:
    folder = made[kind]
    validation = json.loads((folder / "model_run" / contract.VALIDATION_FILE).read_text())
    predictions = read_predictions(str(folder / "model_run"))
    outputs = served[kind].signatures[contract.SIGNATURE_DEFAULT](image_bytes=tf.constant(IMAGES))
    p = predictions.probabilities[contract.FLAT]
    np.testing.assert_allclose(outputs[contract.OUTPUT_PROBABILITIES], p, atol=1e-5)
    assert (outputs[contract.OUTPUT_CLASSES].numpy() == [c.encode() for c in CLASSES]).all()
    threshold = validation["abstain"]["threshold"]
    unsure = p.max(axis=-1) < threshold
    assert outputs[contract.OUTPUT_ABSTAIN].numpy().tolist() == unsure.tolist()
    assert 0 < unsure.sum() < len(IMAGES), "else a wrong threshold would go unseen"

    right = p.argmax(axis=-1) == LABELS
    assert validation["accuracy"] == right.mean()
    assert validation["abstain"]["accuracy"] == right[~unsure].mean() >= 0.95
    assert validation["loss"] == pytest.approx(-np.log(p[np.arange(12), LABELS]).mean())
    assert validation["members"] == ["cheap", "dear"]
    assert validation["multiply_adds"] == predictions.multiply_adds
    if kind == "ensemble":
        assert validation["multiply_adds"] == 1100
    else:
        assert validation["cascade"]["first"] == "cheap"


def test_it_has_seen_what_its_members_went_on_from(made: dict[str, Path]) -> None:
    for folder in made.values():
        seen = Images(frozenset({"a", "b"}), frozenset({"p"}))
        assert read_seen(str(folder / "model_run")) == seen


@pytest.mark.parametrize("kind", ["ensemble", "cascade"])
def test_what_evaluation_asks_is_what_is_served(
    kind: str, made: dict[str, Path], served: dict[str, Any]
) -> None:
    """Of many images, so that a cascade passes some on."""
    model = made[kind] / "model"
    pixels = tf.stack([tf.cast(tf.io.decode_png(png, channels=1), tf.float32) for png in IMAGES])
    expected = served[kind].classify(tf.constant(IMAGES))[contract.FLAT]
    heads = tf.saved_model.load(str(model / "Format-TFMA"))
    features = {"brightness": tf.reduce_mean(pixels, axis=[1, 2, 3])}
    found = heads.answers({"cheap": features, "dear": features})
    np.testing.assert_allclose(found[contract.FLAT], expected, rtol=0, atol=1e-6)
    members = evaluation_model.read_members(str(model / "Format-TFMA"))
    assert {name: member.digest for name, member in members.items()} == {
        "cheap": "cheap",
        "dear": "dear",
    }


@pytest.mark.slow
def test_under_tfx_it_is_cached_until_something_changes(
    members: Members,
    transform_graph: Path,
    launch: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is exported is another test's: here is an empty file."""
    import ml_metadata as mlmd

    def export(_: Any, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        Path(folder, contract.SAVED_MODEL_FILE).touch()

    monkeypatch.setattr(signatures, "export", export)
    monkeypatch.setattr(signatures, "load_transform", str)
    monkeypatch.setattr(combined_model, "CombinedModel", lambda *_: None)
    monkeypatch.setattr(evaluation_model, "HeadsOfCombination", lambda *_: None)
    monkeypatch.setattr(evaluation_model, "write", lambda *_: None)

    def nodes(abstain_accuracy: float) -> list[Any]:
        def importer(kind: Any, key: str, folder: Path) -> Any:
            return tfx.dsl.Importer(source_uri=str(folder), artifact_type=kind).with_id(key)

        kinds = {"model": standard_artifacts.Model, "run": standard_artifacts.ModelRun}
        importers = {
            key: importer(kinds[key.split("_")[0]], key, folder) for key, folder in members.items()
        }
        graph = importer(standard_artifacts.TransformGraph, "graph", transform_graph)
        combiner = ModelCombiner(
            kind="cascade",
            models={n: importers[f"model_{n}"].outputs["result"] for n in ("cheap", "dear")},
            runs={n: importers[f"run_{n}"].outputs["result"] for n in ("cheap", "dear")},
            transform_graph=graph.outputs["result"],
            classes=CLASSES,
            abstain_accuracy=abstain_accuracy,
            code_digest="",
        ).with_id("Combiner.cascade")
        return [*importers.values(), graph, combiner]

    for abstain_accuracy in (0.95, 0.95, 0.5):
        connection = launch(*nodes(abstain_accuracy), enable_cache=True)
    store = mlmd.MetadataStore(connection)
    runs = [a for a in store.get_artifacts_by_type("ModelRun") if "Combiner.cascade" in a.uri]
    targets = [
        json.loads(Path(run.uri, contract.VALIDATION_FILE).read_text())["abstain"]["target"]
        for run in runs
    ]
    assert targets == [0.95, 0.5]
    models = [a for a in store.get_artifacts_by_type("Model") if "Combiner.cascade" in a.uri]
    assert len(models) == 2
    for model in models:
        assert Path(model.uri, "Format-Serving", contract.SAVED_MODEL_FILE).is_file()
