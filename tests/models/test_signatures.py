"""The exported SavedModel, behind a transform graph that tf.Transform itself wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from google.protobuf import text_format
from PIL import Image
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from common.in_process_beam import in_process
from components.featurizer.executor import Job, Prefix
from models.backbones import get_backbone
from models.boundary import CutNetwork
from models.classifier import BackboneModel, CalibratedHead, Classifier
from models.explanation import class_score, heat_map
from models.heads import build_head, tap_means
from models.hyperparameters import HeadParams
from models.predictions import read_predictions
from models.preprocessing import decode_and_resize, decode_transformed, preprocessing_fn
from models.saved_functions import load_functions
from models.signatures import export, load_transform
from models.traced_network import keep
from models.trainer import run_fn
from schema import contract

ROOT = Path(__file__).parents[2]
# Between the five images' highest probabilities.
ABSTAIN_BELOW = 0.5
CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
# How far two probabilities of one image may lie apart: oneDNN sums in another order for
# another size of batch, and for another graph around it.
ROUNDING = 1e-5
Encode = Callable[..., bytes]
Outputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def images(encode: Encode) -> list[bytes]:
    """Five files that differ in format, size, depth and content."""
    rng = np.random.default_rng(0)
    columns, rows = np.meshgrid(np.linspace(0, 255, 400), np.linspace(0, 255, 333))
    blobs = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    colour = Image.fromarray(blobs).resize((300, 200), Image.Resampling.BICUBIC)
    return [
        encode(rng.integers(0, 256, (256, 256), dtype=np.uint8)),
        encode(columns.astype(np.uint8)),
        encode(colour),
        encode(Image.fromarray(rows.astype(np.uint8)), "JPEG"),
        encode((columns.T * 20).astype(np.uint16)),
    ]


def _value(feature: schema_pb2.Feature) -> Any:
    if feature.type == schema_pb2.BYTES:
        return b"unknown"
    return 1 if feature.type == schema_pb2.INT else 1.0


@dataclass
class Transformed:
    """What tf.Transform made of three images."""

    graph: str
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def transformed(images: Sequence[bytes], tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Runs `preprocessing_fn` in tf.Transform, on examples of the project's schema."""
    schema = text_format.Parse((ROOT / "schema/schema.pbtxt").read_text(), schema_pb2.Schema())
    # The mapping's values are dense tensors, but for what may be absent.
    default = {feature.name: _value(feature) for feature in schema.feature}
    default["patient/age"] = []
    examples = [
        default | {contract.IMAGE: data, contract.LABEL: label, contract.SHA256: b"%064x" % label}
        for label, data in enumerate(images[:3])
    ]
    metadata = dataset_metadata.DatasetMetadata(schema)
    graph = tmp_path_factory.mktemp("transform") / "graph"
    rows: list[dict[str, Any]] = []
    with (
        tft_beam.Context(temp_dir=str(tmp_path_factory.mktemp("temp"))),
        in_process(beam.Pipeline(argv=[])) as pipeline,
    ):
        # Shuffled, they'd go to Beam's own runner.
        given = pipeline | beam.Create(examples, reshuffle=False)
        (data, _), transform = (given, metadata) | tft_beam.AnalyzeAndTransformDataset(
            preprocessing_fn
        )
        _ = data | beam.Map(rows.append)
        _ = transform | tft_beam.WriteTransformFn(str(graph))
    assert set(schema_utils.schema_as_feature_spec(schema).feature_spec) == set(default)
    return Transformed(str(graph), sorted(rows, key=lambda row: row[contract.LABEL]))


@dataclass
class Served:
    """A model in memory, and as it comes back from its SavedModel."""

    model: BackboneModel
    directory: Path
    loaded: Any

    def call(self, images: Sequence[bytes]) -> Outputs:
        signature = self.loaded.signatures[contract.SIGNATURE_DEFAULT]
        outputs = signature(image_bytes=tf.constant(images, tf.string, [len(images)]))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def explain(self, images: Sequence[bytes]) -> Outputs:
        signature = self.loaded.signatures[contract.SIGNATURE_EXPLAIN]
        outputs = signature(image_bytes=tf.constant(images, tf.string, [len(images)]))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def call_examples(self, examples: Sequence[bytes]) -> Outputs:
        signature = self.loaded.signatures[contract.SIGNATURE_EXAMPLES]
        outputs = signature(examples=tf.constant(examples, tf.string, [len(examples)]))
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def _taps(network: CutNetwork, images: Sequence[bytes]) -> dict[str, np.ndarray]:
    pixels = tf.stack([decode_and_resize(tf.constant(data)) for data in images])
    taps = network.suffix(network.prefix(tf.cast(pixels, tf.float32)))
    return {name: tensor.numpy() for name, tensor in taps.items()}


@pytest.fixture(scope="module")
def served(
    images: Sequence[bytes],
    transformed: Transformed,
    tiny_cut: Callable[..., CutNetwork],
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    """An untrained tiny network whose head tells the five images apart."""
    network = tiny_cut("head")
    taps = _taps(network, images)
    # One variance for all channels: one that hardly varies over five images would blow up
    # the rounding errors, which differ between sizes of batches.
    moments = {
        name: (values.mean(axis=0), np.full(values.shape[1], values.var(axis=0).mean()))
        for name, values in taps.items()
    }
    channels = {name: values.shape[-1] for name, values in taps.items()}
    head = build_head(HeadParams(l2=0.007), channels, 3, moments, seed=0)
    transform = load_transform(transformed.graph)
    classifier = Classifier(network, {contract.FLAT: CalibratedHead(head, 1.5)})
    model = BackboneModel(transform, classifier, CLASSES, ABSTAIN_BELOW)
    directory = tmp_path_factory.mktemp("served") / "model"
    export(model, str(directory))
    return Served(model, directory, tf.saved_model.load(str(directory)))


@pytest.fixture(scope="module")
def one_by_one(served: Served, images: Sequence[bytes]) -> np.ndarray:
    """The five images' probabilities, each called for alone."""
    rows = [served.call([data])[contract.OUTPUT_PROBABILITIES] for data in images]
    probabilities = np.concatenate(rows)
    distances = np.abs(probabilities[:, None] - probabilities[None]).max(axis=-1)
    assert (distances + np.eye(5)).min() > 1e-2, "else mixed-up rows would go unseen"
    assert len(set(probabilities.argmax(axis=-1))) > 1
    return probabilities


def test_it_has_the_signatures_and_their_names_types_and_shapes(served: Served) -> None:
    inputs = {contract.SIGNATURE_DEFAULT: "image_bytes", contract.SIGNATURE_EXAMPLES: "examples"}
    inputs[contract.SIGNATURE_EXPLAIN] = "image_bytes"
    assert set(served.loaded.signatures) == set(inputs)
    for name, argument in inputs.items():
        signature = served.loaded.signatures[name]
        _, arguments = signature.structured_input_signature
        assert {k: (v.dtype, v.shape.as_list()) for k, v in arguments.items()} == {
            argument: (tf.string, [None])
        }
        outputs = dict(signature.structured_outputs)
        if name == contract.SIGNATURE_EXPLAIN:
            heat = outputs.pop("heat_map")
            assert (heat.dtype, heat.shape.as_list()) == (tf.float32, [None, 256, 256])
        assert {k: (v.dtype, v.shape.as_list()) for k, v in outputs.items()} == {
            "classes": (tf.string, [None, 3]),
            "probabilities": (tf.float32, [None, 3]),
            "predicted_class": (tf.string, [None]),
            "abstain": (tf.bool, [None]),
        }


@pytest.mark.parametrize("count", [0, 1, 16, 17, 40])
def test_a_batch_of_any_size_gives_each_image_what_it_gets_alone(
    count: int, served: Served, images: Sequence[bytes], one_by_one: np.ndarray
) -> None:
    # Not in turns: an order that repeats every five rows would hide swapped chunks.
    order = np.random.default_rng(count).integers(0, len(images), count)
    outputs = served.call([images[i] for i in order])
    probabilities = outputs[contract.OUTPUT_PROBABILITIES]
    assert probabilities.shape == (count, 3)
    np.testing.assert_allclose(probabilities, one_by_one[order], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)

    names = np.array([name.encode() for name in CLASSES], object)
    assert outputs[contract.OUTPUT_CLASSES].shape == (count, 3)
    assert (outputs[contract.OUTPUT_CLASSES] == names).all()
    predicted = names[probabilities.argmax(axis=-1)]
    assert outputs[contract.OUTPUT_PREDICTED].tolist() == predicted.tolist()
    unsure = probabilities.max(axis=-1) < ABSTAIN_BELOW
    assert outputs[contract.OUTPUT_ABSTAIN].tolist() == unsure.tolist()


def _example(fields: Mapping[str, Sequence[bytes]]) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        for name, values in fields.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _assert_same(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        if name == contract.OUTPUT_PROBABILITIES:
            # They come from two graphs, so they needn't agree to the last bit.
            np.testing.assert_allclose(outputs[name], values, rtol=0, atol=ROUNDING)
        else:
            np.testing.assert_array_equal(outputs[name], values)


@pytest.mark.parametrize("count", [0, 5, 17])
def test_examples_get_what_their_images_get(
    count: int, served: Served, images: Sequence[bytes]
) -> None:
    files = [images[i % 5] for i in range(count)]
    # TFMA hands over whole examples: what isn't the image does no harm.
    examples = [_example({contract.IMAGE: [f], contract.PATIENT: [b"p1"]}) for f in files]
    outputs, expected = served.call_examples(examples), served.call(files)
    _assert_same(outputs, expected)


@pytest.mark.parametrize("count", [0, 1, 17])
def test_explained_answers_are_the_answers_and_each_image_has_its_heat_map(
    count: int, served: Served, images: Sequence[bytes]
) -> None:
    order = np.random.default_rng(count).integers(0, len(images), count)
    files = [images[i] for i in order]
    outputs, expected = served.explain(files), served.call(files)
    heat = outputs.pop(contract.OUTPUT_HEAT_MAP)
    _assert_same(outputs, expected)

    assert heat.shape == (count, 256, 256)
    for row, file in enumerate(files):
        np.testing.assert_allclose(heat[row].max(), 1, atol=1e-6)
        assert heat[row].min() >= 0
        (alone,) = served.explain([file])[contract.OUTPUT_HEAT_MAP]
        np.testing.assert_allclose(heat[row], alone, atol=1e-3)


def test_the_heat_map_is_of_the_predicted_class_and_adds_up_to_its_score(
    served: Served, images: Sequence[bytes]
) -> None:
    loaded = served.loaded
    pixels = tf.cast(loaded.preprocess(tf.constant(images)), tf.float32)
    probabilities = loaded.network(pixels)[contract.FLAT]
    classes = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    rows = tf.range(len(images))
    parts = loaded.evidence(pixels, rows, classes)[contract.FLAT]
    # Several classes of an image, in whatever order.
    again = loaded.evidence(pixels[:1], [0, 0], tf.stack([1 - classes[0] % 2, classes[0]]))
    np.testing.assert_allclose(again[contract.FLAT][1], parts[0], rtol=1e-4, atol=1e-9)
    heat = served.explain(images)[contract.OUTPUT_HEAT_MAP]
    np.testing.assert_allclose(heat, heat_map(parts), atol=1e-3)

    head = served.model.classifier.heads[contract.FLAT]
    average = tf.repeat(head(tap_means(head.model)), len(images), axis=0)
    score = class_score(probabilities, classes) - class_score(average, classes)
    assert np.abs(score).min() > 0.01
    np.testing.assert_allclose(tf.reduce_sum(parts, axis=[1, 2]), score, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("fields", [{}, {contract.PATH: [b"a.png"]}, {contract.IMAGE: []}])
def test_an_example_without_an_image_is_an_invalid_argument(
    fields: Mapping[str, Sequence[bytes]], served: Served
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=contract.IMAGE):
        served.call_examples([_example(fields)])


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\xff\xd8\xff\xe0 no JPEG"])
def test_garbage_is_an_invalid_argument(
    garbage: bytes, served: Served, images: Sequence[bytes]
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.call([images[0], garbage])
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.explain([images[0], garbage])
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.call_examples([_example({contract.IMAGE: [garbage]})])
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.call_examples([b"garbage"])


def test_the_saved_model_is_the_model_that_was_saved(
    served: Served, images: Sequence[bytes], one_by_one: np.ndarray
) -> None:
    outputs = served.model.predict(tf.constant(images))
    np.testing.assert_allclose(
        outputs[contract.OUTPUT_PROBABILITIES], one_by_one, rtol=0, atol=ROUNDING
    )
    network = served.model.classifier.network.parts["tiny"]
    assert isinstance(network, CutNetwork)
    taps = _taps(network, images)
    expected = served.model.classifier.heads[contract.FLAT](taps)
    np.testing.assert_allclose(one_by_one, expected, rtol=0, atol=ROUNDING)


def test_transform_stores_the_pixels_that_the_network_sees(
    transformed: Transformed, images: Sequence[bytes]
) -> None:
    assert len(transformed.rows) == 3
    for row, data in zip(transformed.rows, images, strict=False):
        assert set(row) == {
            contract.TRANSFORMED_IMAGE,
            contract.LABEL,
            contract.LABEL_TEXT,
            contract.SHA256,
            contract.GROUP,
        }
        (pixels,) = decode_transformed(tf.constant([row[contract.TRANSFORMED_IMAGE]]))
        np.testing.assert_array_equal(pixels, decode_and_resize(tf.constant(data)))


# float16 keeps 11 bits of a feature map; pooled taps are stored as they are.
@pytest.mark.parametrize(
    ("boundary", "tolerance"), [("head", ROUNDING), ("input", ROUNDING), ("block2", 2e-3)]
)
def test_cached_features_lead_to_the_probabilities_that_are_served(
    boundary: str,
    tolerance: float,
    tiny_backbone: str,
    tiny_cut: Callable[..., CutNetwork],
    served: Served,
    transformed: Transformed,
    one_by_one: np.ndarray,
    tmp_path: Path,
) -> None:
    network = tiny_cut(boundary)
    _save_weights(tiny_cut, tmp_path)
    prefix = Prefix(Job(tiny_backbone, None, (boundary,), str(tmp_path), ("block1", "last")))
    pngs = tf.constant([row[contract.TRANSFORMED_IMAGE] for row in transformed.rows])
    features = prefix(decode_transformed(pngs))
    assert {k: (v.shape[1:], v.dtype.name) for k, v in features.items()} == {
        k: (spec.shape, spec.dtype) for k, spec in network.features.items()
    }
    taps = network.suffix({k: v.astype(np.float32) for k, v in features.items()})
    probabilities = served.model.classifier.heads[contract.FLAT](taps)
    np.testing.assert_allclose(probabilities, one_by_one[:3], rtol=0, atol=tolerance)


def _save_weights(tiny_cut: Callable[..., CutNetwork], folder: Path) -> None:
    """Stores the tiny network's weights as PretrainedBackbone does."""
    prefix = tiny_cut("head").prefix
    network = keras.Model(prefix.input, prefix.get_layer("block2_conv").output)
    network.save_weights(folder / contract.BACKBONE_WEIGHTS_FILE)


@dataclass(frozen=True)
class Fitted:
    """What `run_fn` wrote: the folder of its reports, and the model as it comes back."""

    run: Path
    loaded: Any


@pytest.fixture(scope="module")
def fitted(
    tiny_backbone: str,
    tiny_cut: Callable[..., CutNetwork],
    transformed: Transformed,
    images: Sequence[bytes],
    module_store: Callable[..., list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Fitted]:
    """(recipe) has `run_fn` fit it to one image of each class, the same in either split.

    Where `traced`, no network is in memory meanwhile.
    """
    taps, labels = _taps(tiny_cut("head"), images[:3]), [0, 1, 2]
    train_files, eval_files = (module_store(name, taps, labels) for name in ("train", "eval"))

    def call(training: dict[str, Any], *, traced: bool = False) -> Fitted:
        root = tmp_path_factory.mktemp("fitted")
        backbone_dir, run_dir, serving_dir, eval_dir = (
            root / name for name in ("base", "run", "serving", "eval model")
        )
        backbone_dir.mkdir(parents=True)
        _save_weights(tiny_cut, backbone_dir)
        if traced:
            keep(tiny_backbone, None, [get_backbone(tiny_backbone).head_taps], str(backbone_dir))
            (backbone_dir / contract.BACKBONE_WEIGHTS_FILE).write_bytes(b"not read")
        run_fn(
            SimpleNamespace(
                custom_config={
                    "backbone": tiny_backbone,
                    "classes": CLASSES,
                    "healthy": CLASSES[1],
                    "abstain_accuracy": 0.9,
                    "seed": 3,
                    "features": "computed by",
                    "training": training,
                },
                hyperparameters=None,
                base_model=str(backbone_dir),
                train_files=train_files,
                eval_files=eval_files,
                transform_output=transformed.graph,
                model_run_dir=str(run_dir),
                serving_model_dir=str(serving_dir),
                eval_model_dir=str(eval_dir),
            )
        )
        asked = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN)
        loaded = load_functions(str(serving_dir), ("classify",), signatures=asked)
        return Fitted(run_dir, loaded)

    return call


SOLVED: dict[str, Any] = {"head": {"l2": 0.01}, "augmentations": ["identity"]}


@pytest.fixture(scope="module")
def solved(fitted: Callable[..., Fitted]) -> Fitted:
    """A head that L-BFGS fitted, on a network in memory."""
    return fitted(SOLVED)


def test_run_fn_exports_what_is_fitted_to_all_and_notes_what_judged_it(
    solved: Fitted, transformed: Transformed
) -> None:
    """Of each class one image in either split: two folds."""
    done = solved
    recipe = json.loads((done.run / contract.TRAINING_FILE).read_text())
    validation = json.loads((done.run / contract.VALIDATION_FILE).read_text())
    assert (recipe["validation"], validation["folds"], validation["total"]) == ("cross", 2, 6)
    answers = read_predictions(str(done.run))
    assert (answers.folds, len(answers.sha256)) == (2, 6)
    assert set(answers.own) == set(answers.probabilities) == {contract.FLAT, contract.HIERARCHICAL}
    known = done.loaded.classify(
        tf.constant([row[contract.TRANSFORMED_IMAGE] for row in transformed.rows])
    )
    for name, own in answers.of_finished_model.items():
        np.testing.assert_allclose(own, known[name].numpy()[answers.labels], rtol=0, atol=ROUNDING)


@pytest.mark.long
def test_run_fn_makes_the_same_of_a_network_that_is_traced_as_of_one_in_memory(
    fitted: Callable[..., Fitted], solved: Fitted, images: Sequence[bytes]
) -> None:
    """That the exported models are the same, test_lent_network.py shows in less time."""
    traced = fitted(SOLVED, traced=True)
    given = tf.constant(images[:3], tf.string)
    for signature in (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN):
        expected, found = (
            done.loaded.signatures[signature](image_bytes=given) for done in (solved, traced)
        )
        assert np.ptp(expected[contract.OUTPUT_PROBABILITIES], axis=0).max() > 1e-3
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    for file in (contract.VALIDATION_FILE, contract.TRAINING_FILE):
        assert (traced.run / file).read_text() == (solved.run / file).read_text()


def test_run_fn_trains_exports_and_reports(
    fitted: Callable[[dict[str, Any]], Fitted], transformed: Transformed, images: Sequence[bytes]
) -> None:
    done = fitted(
        {
            "head": {"kind": "paper", "width": 8},
            "epochs": 12,
            "learning_rate": 0.05,
            "augmentations": ["identity"],
            "early_stopping_patience": None,
        }
    )
    history = json.loads((done.run / contract.HISTORY_FILE).read_text())
    validation = json.loads((done.run / contract.VALIDATION_FILE).read_text())
    assert {len(values) for values in history.values()} == {12}
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history)
    assert set(validation) == {
        "accuracy", "loss", "total", "confusion", "temperature", "ece", "abstain", "multiply_adds",
        "folds",
    }  # fmt: skip
    answers = read_predictions(str(done.run))
    assert list(done.run.glob("train/events.out.tfevents.*"))

    loaded = done.loaded
    pngs = tf.constant([row[contract.TRANSFORMED_IMAGE] for row in transformed.rows])
    known = loaded.classify(pngs)
    assert set(known) == {contract.FLAT, contract.HIERARCHICAL} == set(answers.probabilities)
    for name, expected in answers.probabilities.items():
        np.testing.assert_allclose(known[name], expected, rtol=0, atol=ROUNDING)
    signature = loaded.signatures[contract.SIGNATURE_DEFAULT]
    probabilities = signature(image_bytes=tf.constant(images[:3]))["probabilities"].numpy()
    loss = -np.log(probabilities[[0, 1, 2], [0, 1, 2]]).mean()
    assert validation["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert validation["accuracy"] == (probabilities.argmax(axis=-1) == [0, 1, 2]).mean()
    assert loss < 0.9 * np.log(3)
