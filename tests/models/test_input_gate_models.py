"""The input gate in models: fitted by training, exported, taken over by a combination."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models import evaluation_model
from models.augmentation_names import IDENTITY
from models.boundary import CutNetwork
from models.classifier import BackboneModel
from models.combination import combine
from models.combined_model import CombinedModel
from models.evaluation_model import HeadsOfClassifier
from models.feature_records import serialize
from models.frozen_function import read_gate
from models.hyperparameters import TrainingParams
from models.input_gate import facts_of, reasons_of
from models.lending import read_saved_model
from models.preprocessing import grey_png
from models.rule import Rule
from models.saved_functions import load_functions
from models.signatures import export
from models.training import Task, Trained, train
from schema import contract
from tests.models.test_input_gate import blanks, chests

CLASSES = ["a", "b"]
SHARE = 0.05


def _transform(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {contract.TRANSFORMED_IMAGE: grey_png(features[contract.IMAGE])}


def _files(images: np.ndarray) -> list[bytes]:
    return [tf.io.encode_png(image).numpy() for image in images]


def _write(
    network: CutNetwork, images: np.ndarray, path: Path, *, with_facts: bool = True
) -> list[str]:
    """Write records as Featurizer does: every second image is of class `b`."""
    features = {n: v.numpy() for n, v in network.prefix(images.astype(np.float32)).items()}
    facts = facts_of(images)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, image in enumerate(images):
            digest = hashlib.sha256(image.tobytes()).hexdigest().encode()
            of_image: dict[str, Any] = {n: values[row] for n, values in features.items()}
            if with_facts:
                of_image[contract.GATE_FACTS] = facts[row]
            writer.write(
                serialize(
                    of_image,
                    augmentation=IDENTITY,
                    label=row % 2,
                    class_name=b"x",
                    sha256=digest,
                    group=digest,
                )
            )
    return [str(path)]


@dataclass(frozen=True)
class Made:
    """A model that was trained and exported, and the records behind it."""

    trained: Trained
    folder: Path
    files: tuple[list[str], list[str]]


def _train(network: CutNetwork, files: tuple[list[str], list[str]], validation: str) -> Trained:
    params = TrainingParams.model_validate(
        {
            "augmentations": [IDENTITY],
            "validation": validation,
            "head": {"l2": 0.01, "taps": ["block1", "last"]},
        }
    )
    task = Task(2, false_alarms=SHARE)
    return train(network, params, task, train_files=files[0], eval_files=files[1], seed=0)


@pytest.fixture(scope="module")
def make(
    tiny_cut: Callable[..., CutNetwork], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Made]:
    """How it is judged -> a model of images with a dark upper left; each is made once."""

    @functools.cache
    def records(seed: int, count: int) -> list[str]:
        folder = tmp_path_factory.mktemp("records")
        return _write(tiny_cut("head"), chests(count, seed), folder / str(seed))

    @functools.cache
    def call(validation: str) -> Made:
        files = records(1, 40), records(2, 24)
        trained = _train(tiny_cut("head"), files, validation)
        folder = tmp_path_factory.mktemp(validation)
        export(BackboneModel(_transform, trained.classifier, CLASSES, 0.5), str(folder))
        return Made(trained, folder, files)

    return call


@pytest.fixture(scope="module")
def made(make: Callable[[str], Made]) -> dict[str, Made]:
    """Models by how they were judged."""
    return {validation: make(validation) for validation in ("holdout", "cross")}


@pytest.fixture(scope="module")
def asked() -> np.ndarray:
    """Three new images as they should be, and each of them spoilt."""
    upright = chests(3, seed=5)
    noise = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 1), dtype=np.uint8)
    turned = np.rot90(upright, 1, axes=(1, 2))
    return np.concatenate([upright, 255 - upright, turned, blanks(), noise])


EXPECTED = ["ok"] * 3 + ["inverted"] * 3 + ["turned"] * 3 + ["blank"] * 4


def _said(outputs: Mapping[str, tf.Tensor]) -> list[str]:
    reasons = [each.decode() for each in outputs[contract.OUTPUT_DOMAIN_REASON].numpy()]
    in_domain = outputs[contract.OUTPUT_IN_DOMAIN].numpy().tolist()
    assert in_domain == [reason == "ok" for reason in reasons]
    return reasons


@pytest.fixture(scope="module")
def loaded(made: Mapping[str, Made]) -> dict[str, Any]:
    """What the tests ask of the models, as they come back: one is asked for its network alone."""
    whole = load_functions(
        str(made["cross"].folder),
        ("preprocess", "network", "screen", "predict"),
        signatures=(
            contract.SIGNATURE_DEFAULT,
            contract.SIGNATURE_EXPLAIN,
            contract.SIGNATURE_EXAMPLES,
        ),
    )
    return {"cross": whole, "holdout": load_functions(str(made["holdout"].folder), ("network",))}


def test_every_signature_says_why(loaded: Mapping[str, Any], asked: np.ndarray) -> None:
    model = loaded["cross"]
    files = _files(asked)
    by_name = [contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN]
    said = [_said(model.signatures[name](image_bytes=tf.constant(files))) for name in by_name]
    examples = []
    for file in files:
        example = tf.train.Example()
        example.features.feature[contract.IMAGE].bytes_list.value.append(file)
        examples.append(example.SerializeToString())
    by_example = model.signatures[contract.SIGNATURE_EXAMPLES](examples=tf.constant(examples))
    assert said == [_said(by_example)] * 2
    assert said[0][: len(EXPECTED)] == EXPECTED
    assert not set(said[0][len(EXPECTED) :]) & {"ok", "blank"}


def test_parts_by_themselves_say_the_same(
    made: Mapping[str, Made], loaded: Mapping[str, Any], asked: np.ndarray
) -> None:
    """As a server has it that runs the network on something else."""
    model = loaded["cross"]
    pixels = model.preprocess(tf.constant(_files(asked)))
    distances = model.network(tf.cast(pixels, tf.float32))[contract.DISTANCE]
    assert _said(model.screen(pixels, distances)) == _said(model.predict(_files(asked)))
    gate = read_gate(str(made["cross"].folder))
    assert gate
    numpy = reasons_of(gate, facts_of(asked), distances.numpy()[:, 0])
    assert numpy == _said(model.screen(pixels, distances))


def test_the_report_says_how_many_held_out_images_are_kept_out(made: Mapping[str, Made]) -> None:
    for validation, images, folds in (("holdout", 24, 0), ("cross", 64, 5)):
        facts = made[validation].trained.validation[contract.INPUT_GATE]
        assert facts["images"] == images
        assert facts["folds"] == folds
        assert facts["false_alarms"] == SHARE
        assert 0 <= facts["kept_out"] <= SHARE * images


def test_training_again_gives_the_same_gate(
    made: Mapping[str, Made], tiny_cut: Callable[..., CutNetwork]
) -> None:
    gates = [
        trained.classifier.gate
        for trained in (
            made["cross"].trained,
            _train(tiny_cut("head"), made["cross"].files, "cross"),
        )
    ]
    assert gates[0]
    assert gates[1]
    assert gates[0].pixels.to_json() == gates[1].pixels.to_json()
    for one, other in zip(gates[0].look.variables, gates[1].look.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.fixture(scope="module")
def without(
    tiny_cut: Callable[..., CutNetwork], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Trained, Path]:
    """A model of records without facts, and its folder."""
    network, root = tiny_cut("head"), tmp_path_factory.mktemp("without")
    files = tuple(
        _write(network, chests(12, seed), root / str(seed), with_facts=False) for seed in (1, 2)
    )
    trained = _train(network, files, "holdout")  # type: ignore[arg-type]
    export(BackboneModel(_transform, trained.classifier, CLASSES, 0.5), str(root / "model"))
    return trained, root / "model"


def test_records_without_facts_give_a_model_without_a_gate(without: tuple[Trained, Path]) -> None:
    trained, folder = without
    assert trained.classifier.gate is None
    assert contract.INPUT_GATE not in trained.validation
    (meta,) = read_saved_model(str(folder)).meta_graphs
    outputs = meta.signature_def[contract.SIGNATURE_DEFAULT].outputs
    assert contract.OUTPUT_PROBABILITIES in outputs
    assert contract.OUTPUT_IN_DOMAIN not in outputs
    assert read_gate(str(folder)) is None


# A cascade asks all members, as an ensemble does, about each image that it passes on.
@pytest.mark.parametrize("kind", [pytest.param("ensemble", marks=pytest.mark.long), "cascade"])
def test_a_combination_keeps_out_what_all_that_were_asked_keep_out(
    made: Mapping[str, Made],
    loaded: Mapping[str, Any],
    asked: np.ndarray,
    tmp_path: Path,
    kind: Any,
) -> None:
    names = ("holdout", "cross")
    pixels = tf.cast(asked, tf.float32)
    answers = [{head: v.numpy() for head, v in loaded[n].network(pixels).items()} for n in names]
    # The first is sure of some images, and not of others.
    between = float(np.median(answers[0][contract.FLAT].max(axis=-1)))
    rule = Rule(kind, names, between, 1.0)
    folders = {n: str(made[n].folder) for n in names}
    export(CombinedModel(_transform, rule, folders, CLASSES, 0.5), str(tmp_path / "both"))
    both = load_functions(
        str(tmp_path / "both"),
        ("transformed", "classify", "network"),
        signatures=(contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN),
    )
    passed_on = (answers[0][contract.FLAT].max(axis=-1) < between) | (kind == "ensemble")
    distances = [answer[contract.DISTANCE][:, 0] for answer in answers]
    expected = np.where(passed_on, np.minimum(*distances), distances[0])
    files = tf.constant(_files(asked))
    found = both.classify(both.transformed(files)[0])
    np.testing.assert_allclose(found[contract.DISTANCE][:, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(found[contract.FLAT], combine(rule, answers), atol=1e-4)
    one_by_one = [both.network(pixels[n : n + 1])[contract.DISTANCE] for n in range(len(asked))]
    np.testing.assert_allclose(np.ravel(one_by_one), expected, rtol=1e-3)
    gate = read_gate(folders["holdout"])
    assert gate
    said = _said(both.signatures[contract.SIGNATURE_DEFAULT](image_bytes=files))
    assert said == reasons_of(gate, facts_of(asked), expected)
    explained = both.signatures[contract.SIGNATURE_EXPLAIN](image_bytes=files)
    assert _said(explained) == said


def test_what_evaluation_asks_knows_the_distance(
    made: Mapping[str, Made], loaded: Mapping[str, Any], tmp_path: Path
) -> None:
    one, heads = made["cross"], str(tmp_path)
    evaluation_model.write(HeadsOfClassifier(one.trained.classifier, {"tiny": "0"}), heads)
    found = evaluation_model.answer_all(heads, {"tiny": one.files[1]})
    images = chests(24, 2)
    expected = loaded["cross"].network(tf.cast(images, tf.float32))[contract.DISTANCE]
    expected = expected.numpy()[:, 0]
    distances = {
        hashlib.sha256(image.tobytes()).hexdigest(): distance
        for image, distance in zip(images, expected, strict=True)
    }
    for digest, answers in found.items():
        np.testing.assert_allclose(answers[contract.DISTANCE], distances[digest], rtol=1e-3)
    # Loaded once, they can be asked about other records, and again.
    own = evaluation_model.LoadedHeads(heads)
    for files in (one.files[0], one.files[1]):
        again = own.ask({"tiny": files})
        alone = evaluation_model.answer_all(heads, {"tiny": files})
        assert again.keys() == alone.keys()
        for digest, answers in again.items():
            for name, values in answers.items():
                np.testing.assert_array_equal(values, alone[digest][name])
    saved, kept = evaluation_model.read_gate(heads), read_gate(str(one.folder))
    assert saved
    assert kept
    assert saved.to_json() == kept.to_json()


def test_members_of_which_one_has_no_gate_give_none(
    made: Mapping[str, Made], without: tuple[Trained, Path]
) -> None:
    rule = Rule("ensemble", ("cross", "old"), 0.0, 1.0)
    folders = {"cross": str(made["cross"].folder), "old": str(without[1])}
    both = CombinedModel(_transform, rule, folders, CLASSES, 0.5)
    # What its signatures return.
    outputs = both.predict.get_concrete_function().structured_outputs
    assert contract.OUTPUT_PROBABILITIES in outputs
    assert contract.OUTPUT_IN_DOMAIN not in outputs
