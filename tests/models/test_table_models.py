"""Models that take the table, exported: their signatures, answers, and what each part added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.inferrer.parts import part_figures
from models import evaluation_model
from models.backbones import build_network, get_backbone
from models.boundary import cut
from models.classifier import BackboneModel
from models.evaluation_model import HeadsOfClassifier
from models.explanation import class_score
from models.feature_records import serialize
from models.fusion import FusedNetwork
from models.joint_params import JointParams
from models.saved_functions import load_functions
from models.signatures import export
from models.table_fitting import fit_table_model
from models.table_models import JointNetwork, NoNetwork, TableModel, beside_specs
from models.training import Task, Trained
from models.training_data import ImageTaps
from schema import contract, inputs
from schema.table import TableColumn
from tests.miniatures import miniature_backbones

COLUMNS = (
    TableColumn("crp", "crp_val", "numeric", presence=True),
    TableColumn("ward", "ward", "categorical", values=3),
)
CLASSES = ["COVID-19", "Normal"]
NAMES = ("xception", "densenet121")
TASK = Task(2)
REST = contract.PART_REST


def _transform(features: Any) -> dict[str, tf.Tensor]:
    """As Transform's graph: the image as it is; of columns, numbers and zeros."""
    made = {}
    if contract.IMAGE in features:
        made[contract.TRANSFORMED_IMAGE] = features[contract.IMAGE]
    for column in COLUMNS:
        values = features.get(column.raw)
        if values is None:
            continue
        size = values.dense_shape[0]
        rows = values.indices[:, 0]
        if column.kind == "numeric":
            numbers = tf.stack([values.values / 100, tf.ones_like(values.values)], axis=1)
        else:
            place = tf.where(values.values == b"a", 0, tf.where(values.values == b"b", 1, 3))
            numbers = tf.one_hot(place, 4)
        made[column.transformed] = tf.scatter_nd(
            rows[:, tf.newaxis], numbers, tf.stack([size, tf.constant(column.width, tf.int64)])
        )
    return made


@pytest.fixture(scope="module")
def network() -> FusedNetwork:
    """Two backbones; the run of tests/pipeline/test_table_run.py has one."""
    keras.utils.set_random_seed(0)
    parts = {}
    with miniature_backbones():
        for name in NAMES:
            row = get_backbone(name)
            parts[name] = cut(build_network(row), row, "head", tuple(row.fused_taps))
    return FusedNetwork(parts)


def _pngs(count: int, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [
        tf.io.encode_png(rng.integers(0, 255, (256, 256, 1), np.uint8)).numpy()
        for _ in range(count)
    ]


def _images(network: FusedNetwork, pngs: list[bytes], first: int) -> ImageTaps:
    pixels = tf.cast(tf.stack([tf.io.decode_png(each) for each in pngs]), tf.float32)
    taps = {n: v.numpy() for n, v in network.pooled(network.feature_maps(pixels)).items()}
    count = len(pngs)
    labels = np.arange(count) % 2
    rng = np.random.default_rng(first)
    there = rng.random(count) < 0.8
    taps["table_crp"] = np.stack([(labels + rng.normal(size=count)) * there, there], axis=1)
    taps["table_ward"] = np.eye(4)[rng.choice([0, 1, 3], count)]
    numbers = np.arange(count)
    return ImageTaps(
        {name: values.astype(np.float32) for name, values in taps.items()},
        *(numbers, numbers, labels),
        tuple(f"{first + row:064x}" for row in range(count)),
        tuple(f"p{(first + row) // 4}" for row in range(count)),
    )


@pytest.fixture(scope="module")
def pngs() -> list[bytes]:
    return _pngs(36, 0)


def _fit(network: Any, within: Any, images: FusedNetwork, pngs: list[bytes]) -> Trained:
    trained, recipe = fit_table_model(
        network, COLUMNS, within, JointParams(), TASK,
        _images(images, pngs[:24], 0), _images(images, pngs[24:], 24), seed=0,
    )  # fmt: skip
    json.dumps([trained.validation, recipe], allow_nan=False)
    return trained


@pytest.fixture(scope="module")
def joint(network: FusedNetwork, pngs: list[bytes]) -> Trained:
    return _fit(JointNetwork(network, COLUMNS), network.scales(), network, pngs)


@pytest.fixture(scope="module")
def loaded(joint: Trained, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("joint")
    beside = inputs.of_columns(COLUMNS)
    export(BackboneModel(_transform, joint.classifier, CLASSES, 0.6, beside), str(folder))
    asked = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN, contract.SIGNATURE_TABLE)
    return load_functions(str(folder), ("preprocess", "network"), signatures=asked)


def _ask(loaded: Any, pngs: list[bytes], crp: list[float], ward: list[bytes]) -> dict[str, Any]:
    signature = loaded.signatures[contract.SIGNATURE_TABLE]
    answer = signature(image_bytes=tf.constant(pngs), crp=tf.constant(crp), ward=tf.constant(ward))
    return {name: value.numpy() for name, value in answer.items()}


def test_without_a_table_both_signatures_answer_alike(loaded: Any, pngs: list[bytes]) -> None:
    asked = pngs[:3]
    default = loaded.signatures[contract.SIGNATURE_DEFAULT](image_bytes=tf.constant(asked))
    missing = _ask(loaded, asked, [float("nan")], [b""])
    np.testing.assert_allclose(
        default[contract.OUTPUT_PROBABILITIES].numpy(),
        missing[contract.OUTPUT_PROBABILITIES],
        atol=1e-5,
    )
    given = _ask(loaded, asked, [300.0] * 3, [b"a"] * 3)
    assert (given["probabilities"][:, 1] > missing["probabilities"][:, 1]).all()


def test_what_each_part_added_is_the_log_odds_of_the_answer(loaded: Any, pngs: list[bytes]) -> None:
    answer = _ask(loaded, pngs[:20], [float(n) for n in range(20)], [b"a", b"b"] * 10)
    names = [name.decode() for name in answer[contract.OUTPUT_PART_NAMES][0]]
    assert names == ["the image", "crp", "ward", "before anything is known"]
    probabilities = answer[contract.OUTPUT_PROBABILITIES]
    score = class_score(tf.constant(probabilities), probabilities.argmax(axis=1)).numpy()
    added = answer[contract.OUTPUT_PART_LOG_ODDS]
    assert added.shape == (20, 4)
    np.testing.assert_allclose(added.sum(axis=1), score, atol=2e-3)
    crp = added[:, 1] * np.where(probabilities.argmax(axis=1) == 1, 1, -1)
    assert (np.diff(crp) > 0).all(), "the more CRP, the more speaks for its class"


def test_the_network_alone_and_the_heat_map_do_without_the_table(
    loaded: Any, pngs: list[bytes]
) -> None:
    asked = tf.constant(pngs[:2])
    explained = loaded.signatures[contract.SIGNATURE_EXPLAIN](image_bytes=asked)
    default = loaded.signatures[contract.SIGNATURE_DEFAULT](image_bytes=asked)
    np.testing.assert_allclose(
        explained["probabilities"].numpy(), default["probabilities"].numpy(), atol=1e-5
    )
    assert explained[contract.OUTPUT_HEAT_MAP].shape == (2, 256, 256)
    pixels = tf.cast(loaded.preprocess(asked), tf.float32)
    heads = loaded.network(pixels)
    np.testing.assert_allclose(
        heads[contract.FLAT].numpy(), default["probabilities"].numpy(), atol=1e-5
    )


def test_the_comparison_is_in_the_record(joint: Trained) -> None:
    found = joint.validation["table"]
    assert set(found["models"]) == {"image", "table", "joint", "joint without the table"}
    refused = joint.validation[contract.NOT_TO_PUSH]
    assert (refused is None) == found["joint_is_better"]
    assert joint.validation["columns"] == ["crp", "ward"]
    assert joint.validation["folds"] > 1


def _records(folder: Path, images: ImageTaps, backbone: str) -> str:
    path = folder / f"{backbone}-00000"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, digest in enumerate(images.sha256):
            features = {
                name.removeprefix(f"{backbone}_"): values[row]
                for name, values in images.taps.items()
                if name.startswith((f"{backbone}_", "table_"))
            }
            writer.write(
                serialize(
                    features,
                    augmentation="identity",
                    label=int(images.labels[row]),
                    class_name=b"x",
                    sha256=digest.encode(),
                    group=images.groups[row].encode(),
                )
            )
    return str(path)


def test_evaluation_reads_the_columns_beside_the_features(
    network: FusedNetwork, joint: Trained, loaded: Any, pngs: list[bytes], tmp_path: Path
) -> None:
    images = _images(network, pngs[:24], 0)
    first = next(iter(network.parts))
    digests = dict.fromkeys(network.parts, "digest")
    heads = HeadsOfClassifier(joint.classifier, digests, {first: beside_specs(COLUMNS)})
    evaluation_model.write(heads, str(tmp_path / "heads"))
    sources = {name: [_records(tmp_path, images, name)] for name in network.parts}
    answers = evaluation_model.answer(str(tmp_path / "heads"), sources)
    crp = images.taps["table_crp"]
    served = _ask(
        loaded,
        pngs[:24],
        [float(value * 100) if there else float("nan") for value, there in crp],
        [[b"a", b"b", b"?", b"c"][place] for place in images.taps["table_ward"].argmax(axis=1)],
    )["probabilities"]
    np.testing.assert_allclose([answers[d] for d in images.sha256], served, atol=1e-4)
    known = evaluation_model.answer_all(str(tmp_path / "heads"), sources)
    classes = {
        digest: (label, CLASSES[label])
        for digest, label in zip(images.sha256, images.labels.tolist(), strict=True)
    }
    found = part_figures(str(tmp_path / "heads"), known, classes)
    assert found is not None
    assert found["images"] == 24
    parts = {part["name"]: part for part in found["parts"]}
    assert list(parts) == [
        "the image", "the table", "crp", "ward", "before anything is known"
    ]  # fmt: skip
    # It is planted that a CRP above the middle speaks for the second class, and one below it
    # for the first.
    assert min(parts["crp"]["signed"].values()) > 0
    whole = {
        name: sum(parts[part]["signed"][name] for part in ("the image", "the table", REST))
        for name in CLASSES
    }
    for label, name in enumerate(CLASSES):
        rows = [known[d][contract.FLAT] for d in images.sha256 if classes[d][0] == label]
        score = class_score(tf.constant(rows), np.full(len(rows), label)).numpy()
        np.testing.assert_allclose(whole[name], score.mean(), atol=2e-3)


def test_the_table_alone(network: FusedNetwork, pngs: list[bytes], tmp_path: Path) -> None:
    trained = _fit(NoNetwork(COLUMNS), None, network, pngs)
    assert "table" not in trained.validation
    assert contract.NOT_TO_PUSH not in trained.validation
    head = trained.classifier.heads[contract.FLAT]
    export(TableModel(_transform, head, COLUMNS, CLASSES, 0.6), str(tmp_path / "table"))
    loaded = load_functions(str(tmp_path / "table"), signatures=(contract.SIGNATURE_TABLE,))
    answer = loaded.signatures[contract.SIGNATURE_TABLE](
        crp=tf.constant([5.0, 500.0, float("nan")]), ward=tf.constant([b"a", b"b", b""])
    )
    assert answer["probabilities"][1, 1] > answer["probabilities"][0, 1]
    assert [name.decode() for name in answer["part_names"][0].numpy()] == [
        "crp", "ward", "before anything is known"
    ]  # fmt: skip
    images = _images(network, pngs[:24], 0)
    first = next(iter(network.parts))
    heads = HeadsOfClassifier(trained.classifier, {first: "d"}, {first: beside_specs(COLUMNS)})
    evaluation_model.write(heads, str(tmp_path / "heads"))
    found = evaluation_model.answer(
        str(tmp_path / "heads"), {first: [_records(tmp_path, images, first)]}
    )
    assert len(found) == 24
