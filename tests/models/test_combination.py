"""Ensemble and cascade: the rules, their fit, and the SavedModel made of SavedModels."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models import combined_model
from models.boundary import CutNetwork
from models.calibration import apply_temperature, negative_log_likelihood
from models.classifier import BackboneModel, CalibratedHead, Classifier
from models.combination import (
    combine,
    combine_tensors,
    fit_combination,
    is_passed_on,
)
from models.combined_model import CombinedModel
from models.explanation import heat_map
from models.heads import build_head, build_hierarchical_head
from models.hyperparameters import HeadParams
from models.predictions import Predictions
from models.preprocessing import decode_and_resize, decode_transformed
from models.rule import Kind, Rule
from models.saved_functions import load_functions
from models.signatures import export
from schema import contract

Answers = list[dict[str, np.ndarray]]
CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
KINDS: tuple[Kind, ...] = ("ensemble", "cascade")


@st.composite
def member_answers(draw: st.DrawFn) -> tuple[Answers, np.ndarray]:
    """Two to four members of differing skill; labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, images, n = (draw(st.integers(2, top)) for top in (4, 20, 4))
    labels = rng.integers(0, n, images)
    heads = [contract.FLAT, contract.HIERARCHICAL][: draw(st.integers(1, 2))]
    decimals = draw(st.sampled_from([1, 6]))  # 1: ties

    def probabilities() -> np.ndarray:
        p = rng.dirichlet([0.5] * n, images)
        p[np.arange(images), labels] += rng.uniform(0, 1)
        p = np.round(p, decimals) + 1e-9
        return p / p.sum(axis=-1, keepdims=True)

    return [{head: probabilities() for head in heads} for _ in range(count)], labels


def _runs(answers: Answers, labels: np.ndarray, costs: Sequence[int]) -> dict[str, Predictions]:
    hashes = tuple(f"{i:064x}" for i in range(len(labels)))
    return {
        f"m{i}": Predictions(hashes, labels, answer, cost)
        for i, (answer, cost) in enumerate(zip(answers, costs, strict=True))
    }


def _stepwise(answer: Mapping[str, np.ndarray]) -> np.ndarray:
    return answer.get(contract.HIERARCHICAL, answer[contract.FLAT])


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_pooled_by_the_mean_of_their_logs(kind: Kind) -> None:
    """9 : 1 and 1 : 1 are 3 : 1 together, where the mean of probabilities is 7 : 3."""
    members = [{contract.FLAT: np.array([p])} for p in ([0.9, 0.1], [0.5, 0.5])]
    rule = Rule(kind, ("a", "b"), threshold=1.0, temperature=1.0)
    np.testing.assert_allclose(combine(rule, members), [[0.75, 0.25]], atol=1e-12)


@given(
    member_answers(),
    st.sampled_from(KINDS),
    st.floats(0, 1.2),
    st.floats(0.2, 20),
    st.integers(0, 20),
)
@settings(max_examples=100)
def test_what_is_served_is_what_was_fitted(
    given_answers: tuple[Answers, np.ndarray],
    kind: Kind,
    threshold: float,
    temperature: float,
    batch: int,
) -> None:
    answers, labels = given_answers
    confidence = _stepwise(answers[0]).max(axis=-1)
    # Beside the threshold float32 may decide otherwise.
    assume((np.abs(confidence - threshold) > 1e-6).all())
    rule = Rule(kind, ("any",) * len(answers), threshold, temperature)
    expected = combine(rule, answers)

    def member(answer: Mapping[str, np.ndarray]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        # An "image" is the number of its row.
        return lambda pngs: {
            head: tf.gather(tf.constant(p, tf.float32), tf.strings.to_number(pngs, tf.int32))
            for head, p in answer.items()
        }

    rows = np.random.default_rng(batch).integers(0, len(labels), batch)
    pngs = tf.constant([str(row) for row in rows], tf.string, [batch])
    served = combine_tensors(rule, [member(answer) for answer in answers], pngs)
    assert served.dtype == tf.float32
    np.testing.assert_allclose(served, expected[rows], atol=2e-5)
    np.testing.assert_allclose(expected.sum(axis=-1), 1, atol=1e-9)


@given(member_answers())
@settings(max_examples=60)
def test_an_ensemble_is_all_members_pooled_and_calibrated(
    given_answers: tuple[Answers, np.ndarray],
) -> None:
    answers, labels = given_answers
    runs = _runs(answers, labels, range(1, len(answers) + 1))
    combination = fit_combination(
        "ensemble", runs, n_classes=answers[0][contract.FLAT].shape[1], abstain_accuracy=0.9
    )
    pooled = combine(Rule("ensemble", tuple(runs), 0.0, 1.0), answers)
    p = combination.predictions.probabilities[contract.FLAT]
    np.testing.assert_allclose(p, apply_temperature(pooled, combination.rule.temperature))
    assert negative_log_likelihood(p, labels) <= negative_log_likelihood(pooled, labels) + 1e-9
    assert combination.rule.members == tuple(runs)
    assert combination.predictions.multiply_adds == math.comb(len(answers) + 1, 2)
    assert combination.validation["members"] == list(runs)
    assert "cascade" not in combination.validation


@given(member_answers(), st.permutations([5, 30, 700, 9000]))
@settings(max_examples=120)
def test_a_cascade_asks_no_more_than_it_must(
    given_answers: tuple[Answers, np.ndarray], costs: list[int]
) -> None:
    answers, labels = given_answers
    costs = costs[: len(answers)]
    combination = fit_combination(
        "cascade",
        _runs(answers, labels, costs),
        n_classes=answers[0][contract.FLAT].shape[1],
        abstain_accuracy=0.9,
    )
    rule, report = combination.rule, combination.validation
    first = int(np.argmin(costs))
    assert report["cascade"]["first"] == rule.members[0] == f"m{first}"
    cheap = _stepwise(answers[first])
    logs = [np.log(np.maximum(_stepwise(a), 1.2e-38)) for a in answers]
    together = np.exp(np.mean(logs, axis=0))
    confidence = cheap.max(axis=-1)

    def right(threshold: float) -> int:
        p = np.where((confidence >= threshold)[:, np.newaxis], cheap, together)
        return int((p.argmax(axis=-1) == labels).sum())

    # Brute force: as good as asking all, and no threshold that passes on fewer images is.
    assert right(rule.threshold) >= right(np.inf)
    kept = confidence >= rule.threshold
    assert all(right(lower) < right(np.inf) for lower in confidence[~kept])
    assert report["cascade"]["threshold"] == rule.threshold
    assert report["cascade"]["share_passed_on"] == (~kept).mean()
    expected_cost = costs[first] + (~kept).mean() * (sum(costs) - costs[first])
    assert report["multiply_adds"] == combination.predictions.multiply_adds
    assert abs(report["multiply_adds"] - expected_cost) <= 0.5
    p = combination.predictions.probabilities[contract.FLAT]
    raw = np.where(kept[:, np.newaxis], cheap, together)
    np.testing.assert_allclose(p, apply_temperature(raw, rule.temperature), atol=1e-12)
    assert report["accuracy"] == (p.argmax(axis=-1) == labels).mean()
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(
    ("cheap", "threshold", "passed_on"),
    [
        # The cheap member is right wherever it is sure, and wrong where it is not.
        ([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55]], 0.79, 1 / 3),
        ([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45]], 0.0, 0.0),  # right by itself
        ([[0.1, 0.9], [0.2, 0.8], [0.45, 0.55]], 2.0, 1.0),  # of no use
    ],
)
def test_the_cascades_threshold_by_hand(
    cheap: list[list[float]], threshold: float, passed_on: float
) -> None:
    strong = [[0.99, 0.01]] * 3
    answers: Answers = [{contract.FLAT: np.array(p)} for p in (cheap, strong)]
    runs = _runs(answers, np.zeros(3, int), [10, 90])
    combination = fit_combination("cascade", runs, n_classes=2, abstain_accuracy=0.9)
    assert combination.rule.threshold == threshold
    assert combination.validation["cascade"]["share_passed_on"] == passed_on
    assert combination.validation["multiply_adds"] == round(10 + 90 * passed_on)


def test_among_equally_cheap_members_the_alphabet_decides() -> None:
    answers: Answers = [{contract.FLAT: np.full((2, 2), 0.5)}] * 3
    runs = _runs(answers, np.array([0, 1]), [7, 7, 7])
    for order in (["m1", "m0", "m2"], ["m2", "m1", "m0"]):
        given_runs = {name: runs[name] for name in order}
        combination = fit_combination("cascade", given_runs, n_classes=2, abstain_accuracy=0.9)
        assert combination.rule.members == ("m0", "m1", "m2")


def test_members_whose_records_came_in_another_order_are_aligned() -> None:
    answers: Answers = [{contract.FLAT: np.array([[0.9, 0.1], [0.3, 0.7]])}] * 2
    runs = _runs(answers, np.array([0, 1]), [1, 2])
    m1 = runs["m1"]
    turned = Predictions(
        m1.sha256[::-1], m1.labels[::-1], {contract.FLAT: answers[0][contract.FLAT][::-1]}, 2
    )
    fitted = [
        fit_combination("ensemble", r, n_classes=2, abstain_accuracy=0.9).validation
        for r in (runs, runs | {"m1": turned})
    ]
    assert fitted[0] == fitted[1]
    other = Predictions(("f" * 64, m1.sha256[1]), m1.labels, m1.probabilities, 2)
    with pytest.raises(ValueError, match="not of the same images"):
        fit_combination("ensemble", runs | {"m1": other}, n_classes=2, abstain_accuracy=0.9)


def test_one_member_is_no_combination() -> None:
    runs = _runs([{contract.FLAT: np.full((1, 2), 0.5)}], np.array([0]), [1])
    with pytest.raises(ValueError, match=r"^runs: 1 member"):
        fit_combination("ensemble", runs, n_classes=2, abstain_accuracy=0.9)


def _transform_layer(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What Transform's graph does to an image."""

    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}


@pytest.fixture(scope="module")
def images(encode: Callable[..., bytes]) -> list[bytes]:
    """Twenty files: noise of differing brightness and coarseness."""
    rng = np.random.default_rng(0)
    return [
        encode(np.kron(rng.integers(0, 10 + 12 * i, (8, 8)), np.ones((32, 32))).astype(np.uint8))
        for i in range(20)
    ]


class _Tiles(tf.Module):
    """What of a backbone's SavedModel takes part; it looks at sixteen tiles of an image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        kernels = np.random.default_rng(seed).normal(size=(2, 16, len(CLASSES)))
        self.weights = [tf.Variable(kernel.astype(np.float32)) for kernel in 4 * kernels]

    def _heads(self, tensors: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return dict(zip((contract.FLAT, contract.HIERARCHICAL), tensors, strict=True))

    @tf.function(input_signature=[tf.TensorSpec([None, 256, 256, 1], tf.float32)])
    def network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        tiles = tf.reshape(tf.nn.avg_pool2d(pixels, 64, 64, "VALID"), [-1, 16]) / 255
        return self._heads([tf.nn.softmax(tiles @ kernel) for kernel in self.weights])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.network(tf.cast(decode_transformed(pngs), tf.float32))

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
        pixels = tf.gather(pixels, rows)
        parts = []
        for kernel in self.weights:
            chosen = tf.reshape(tf.gather(kernel, classes, axis=1), [4, 4, -1, 1])
            wide = tf.image.resize(tf.transpose(chosen, [2, 0, 1, 3]), [256, 256], "nearest")
            parts.append((wide * pixels)[..., 0] / 255)
        return self._heads(parts)


@pytest.fixture(scope="module")
def members(
    tiny_cut: Callable[..., CutNetwork],
    images: Sequence[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """A backbone's SavedModel, untrained, and a stand-in for another, whose answers differ."""
    folder = tmp_path_factory.mktemp("members")
    network = tiny_cut("head")
    pixels = tf.stack([tf.cast(decode_and_resize(data), tf.float32) for data in images])
    taps = {k: v.numpy() for k, v in network.suffix(network.prefix(pixels)).items()}
    moments = {k: (v.mean(axis=0), np.full(v.shape[1], v.var() / 4)) for k, v in taps.items()}
    channels = {k: v.shape[1] for k, v in taps.items()}
    params = HeadParams(l2=0.01)
    heads = {
        contract.FLAT: CalibratedHead(build_head(params, channels, 3, moments, 0)),
        contract.HIERARCHICAL: CalibratedHead(
            build_hierarchical_head(params, channels, 3, 1, moments, 0), 1.3
        ),
    }
    model = BackboneModel(_transform_layer, Classifier(network, heads), CLASSES, 0.5)
    export(model, str(folder / "a"))
    tf.saved_model.save(_Tiles(0), str(folder / "b"))
    return {name: folder / name for name in "ab"}


def _numpy(outputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def _served(loaded: Any, name: str, images: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What a signature answers."""
    strings = tf.constant(images, tf.string, [len(images)])
    return _numpy(loaded.signatures[name](image_bytes=strings))


@pytest.fixture(scope="module")
def loaded(members: Mapping[str, Path]) -> dict[str, Any]:
    """The members, as they come back."""
    return {name: tf.saved_model.load(str(path)) for name, path in members.items()}


@pytest.fixture(scope="module")
def answers(loaded: Mapping[str, Any], images: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
    """Member -> head -> what it says of the images."""
    pngs = _transform_layer({contract.IMAGE: tf.constant(images)})[contract.TRANSFORMED_IMAGE]
    return {name: _numpy(member.classify(pngs)) for name, member in loaded.items()}


@dataclass(frozen=True)
class Combined:
    """A combined model as it comes back, after its members' files are gone.

    Attributes:
        rule: of it.
        loaded: the SavedModel.
        answers: its members', in the rule's order.
        expected: probabilities of the images.
    """

    rule: Rule
    loaded: Any
    answers: Answers
    expected: np.ndarray


@pytest.fixture(scope="module")
def combined(
    members: Mapping[str, Path],
    answers: Mapping[str, dict[str, np.ndarray]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Kind, Combined]:
    """Each kind, exported once."""
    # The golden run's combinations have three.
    names = ("b", "a")
    given_answers = [answers[name] for name in names]
    confidence = np.sort(given_answers[0][contract.HIERARCHICAL].max(axis=-1))
    # Between two images' confidences, so that some are passed on and some are not.
    index = int(np.argmax(np.diff(confidence[5:15]))) + 5
    threshold = float(confidence[index : index + 2].mean())
    found: dict[Kind, Combined] = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        copies = {n: str(shutil.copytree(p, folder / "members" / n)) for n, p in members.items()}
        rule = Rule(kind, names, threshold, 0.8)
        export(CombinedModel(_transform_layer, rule, copies, CLASSES, 0.4), str(folder / "model"))
        shutil.rmtree(folder / "members")
        model = tf.saved_model.load(str(folder / "model"))
        found[kind] = Combined(rule, model, given_answers, combine(rule, given_answers))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_one_saved_model_answers_for_all_members_without_their_files(
    kind: Kind, combined: Mapping[Kind, Combined], images: Sequence[bytes]
) -> None:
    model = combined[kind]
    expected = model.expected
    alone = apply_temperature(model.answers[0][contract.HIERARCHICAL], model.rule.temperature)
    assert np.abs(expected - alone).max() > 1e-2, "else the other members wouldn't be missed"
    batches = [[0], [19], [], list(range(20)), [7, 3, 3, 11]]
    for rows in batches:
        outputs = _served(model.loaded, contract.SIGNATURE_DEFAULT, [images[row] for row in rows])
        probabilities = outputs[contract.OUTPUT_PROBABILITIES]
        np.testing.assert_allclose(probabilities, expected[rows], atol=2e-5)
        names = np.array([name.encode() for name in CLASSES], object)
        predicted = names[expected[rows].argmax(axis=-1)]
        assert outputs[contract.OUTPUT_PREDICTED].tolist() == predicted.tolist()
        unsure = probabilities.max(axis=-1) < np.float32(0.4)
        assert outputs[contract.OUTPUT_ABSTAIN].tolist() == unsure.tolist()


def _described(loaded: Any) -> dict[str, Any]:
    return {
        name: (
            {k: (v.dtype, v.shape.as_list()) for k, v in inputs.items()},
            {k: (v.dtype, v.shape.as_list()) for k, v in outputs.items()},
        )
        for name, signature in loaded.signatures.items()
        for inputs in [signature.structured_input_signature[1]]
        for outputs in [signature.structured_outputs]
    }


def test_its_signatures_are_a_backbones(
    combined: Mapping[Kind, Combined],
    loaded: Mapping[str, Any],
    images: Sequence[bytes],
) -> None:
    model = combined["cascade"].loaded
    assert _described(model) == _described(loaded["a"])
    assert set(_described(model)) == {"serving_default", "serve_examples", "explain"}
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[images[4]]))
    example = tf.train.Example(features=tf.train.Features(feature={contract.IMAGE: feature}))
    serialized = tf.constant([example.SerializeToString()])
    by_example = model.signatures[contract.SIGNATURE_EXAMPLES](examples=serialized)
    by_image = _served(model, contract.SIGNATURE_DEFAULT, images[4:5])
    np.testing.assert_allclose(by_example["probabilities"], by_image["probabilities"], atol=1e-5)


class _Refusing(tf.Module):
    """A member that can't answer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [tf.Variable(0.0)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_equal(tf.size(pngs), 0)]):
            nothing = tf.zeros([0, len(CLASSES)]) + 0 * self.weights[0]
        return {contract.FLAT: nothing, contract.HIERARCHICAL: nothing}

    @tf.function(input_signature=[tf.TensorSpec([None, 256, 256, 1], tf.float32)])
    def network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_equal(tf.size(pixels), 0)]):
            nothing = tf.zeros([tf.shape(pixels)[0], len(CLASSES)]) + 0 * self.weights[0]
        return {contract.FLAT: nothing, contract.HIERARCHICAL: nothing}

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
        pixels = tf.gather(pixels, rows)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.size(classes), 0)]):
            nothing = pixels[..., 0] + 0 * self.weights[0]
        return {contract.FLAT: nothing, contract.HIERARCHICAL: nothing}


def test_no_other_member_is_asked_about_an_image_of_which_the_first_is_sure(
    members: Mapping[str, Path],
    answers: Mapping[str, dict[str, np.ndarray]],
    images: Sequence[bytes],
    tmp_path: Path,
) -> None:
    tf.saved_model.save(_Refusing(), str(tmp_path / "refusing"))
    hierarchical = answers["a"][contract.HIERARCHICAL]
    confidence = hierarchical.max(axis=-1)
    surest, least_sure = int(confidence.argmax()), int(confidence.argmin())
    threshold = float(confidence[[surest, least_sure]].mean())
    rule = Rule("cascade", ("a", "refusing"), threshold, 1.0)
    directories = {"a": str(members["a"]), "refusing": str(tmp_path / "refusing")}
    combined = CombinedModel(_transform_layer, rule, directories, CLASSES, 0.4)
    export(combined, str(tmp_path / "model"))
    model = load_functions(
        str(tmp_path / "model"),
        ("predict", "preprocess", "network"),
        signatures=(contract.SIGNATURE_EXPLAIN,),
    )
    explain = model.signatures[contract.SIGNATURE_EXPLAIN]
    sure, unsure = [images[surest]] * 3, [images[surest], images[least_sure]]
    p = model.predict(tf.constant(sure))[contract.OUTPUT_PROBABILITIES]
    np.testing.assert_allclose(p, hierarchical[[surest] * 3], atol=2e-5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.predict(tf.constant(unsure))
    assert explain(tf.constant(sure))[contract.OUTPUT_HEAT_MAP].numpy().any()
    with pytest.raises(tf.errors.InvalidArgumentError):
        explain(tf.constant(unsure))
    # The same where a server runs the network by itself, one image at a time.
    pixels = tf.cast(model.preprocess(tf.constant(images)), tf.float32)
    found = model.network(pixels[surest : surest + 1])[contract.FLAT]
    np.testing.assert_allclose(found, hierarchical[[surest]], atol=2e-5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.network(pixels[least_sure : least_sure + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_members_that_were_asked_explain_the_answer_that_was_given(
    kind: Kind,
    combined: Mapping[Kind, Combined],
    loaded: Mapping[str, Any],
    images: Sequence[bytes],
) -> None:
    model = combined[kind]
    expected = model.expected
    classes = tf.constant(expected.argmax(axis=-1), tf.int32)
    head = contract.FLAT if kind == "ensemble" else contract.HIERARCHICAL
    pixels = tf.cast(model.loaded.preprocess(tf.constant(images)), tf.float32)
    rows = tf.range(len(images))
    parts = [
        loaded[name].evidence(pixels, rows, classes)[head].numpy() for name in model.rule.members
    ]
    wanted = np.mean(parts, axis=0)
    if kind == "cascade":
        sure = ~is_passed_on(model.rule, model.answers)
        assert 0 < sure.sum() < len(images)
        wanted[sure] = parts[0][sure]
    heat = heat_map(tf.constant(wanted)).numpy()
    # Twenty images are more than one chunk.
    for rows in ([], [4], list(range(20)), [7, 3, 3, 11]):
        outputs = _served(model.loaded, contract.SIGNATURE_EXPLAIN, [images[row] for row in rows])
        np.testing.assert_allclose(outputs["probabilities"], expected[rows], atol=2e-5)
        np.testing.assert_allclose(outputs[contract.OUTPUT_HEAT_MAP], heat[rows], atol=5e-3)


class _Whole:
    """Lends functions with all that is in them, as TensorFlow loads them."""

    def __init__(self, _: str, directory: str, functions: Sequence[str]) -> None:
        self._loaded = tf.saved_model.load(directory)
        # What a member has of its lender: all that these read, for a backbone had one, too.
        of_network = [self._loaded.stand_in] if hasattr(self._loaded, "stand_in") else []
        self.stand_in = [self._loaded.weights, *of_network]
        found = {name: getattr(self._loaded, name).concrete_functions[0] for name in functions}
        self.functions = {
            name: SimpleNamespace(results=function.structured_outputs)
            for name, function in found.items()
        }

    def borrow(self, function: str) -> Any:
        return getattr(self._loaded, function)


@pytest.mark.long
def test_linked_members_answer_as_loaded_ones_to_the_last_bit(
    combined: Mapping[Kind, Combined],
    members: Mapping[str, Path],
    images: Sequence[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of whole models; of a small one, test_lending.py shows it in less time."""
    linked = combined["cascade"]
    monkeypatch.setattr(combined_model.Lender, "of_saved_model", _Whole)
    monkeypatch.setattr(CombinedModel, "lenders", {})
    paths = {name: str(path) for name, path in members.items()}
    model = CombinedModel(_transform_layer, linked.rule, paths, CLASSES, 0.4)
    export(model, str(tmp_path / "model"))
    whole = tf.saved_model.load(str(tmp_path / "model"))
    for name, files in (
        (contract.SIGNATURE_DEFAULT, images[:1]),
        (contract.SIGNATURE_EXPLAIN, images),
    ):
        expected, found = (_served(m, name, files) for m in (whole, linked.loaded))
        assert set(found) == set(expected)
        for output, values in expected.items():
            np.testing.assert_array_equal(found[output], values)
    pixels = tf.cast(whole.preprocess(tf.constant(images[4:5])), tf.float32)
    expected, found = (_numpy(m.network(pixels)) for m in (whole, linked.loaded))
    np.testing.assert_array_equal(found[contract.FLAT], expected[contract.FLAT])


@pytest.mark.parametrize("name", [*KINDS, "a"])
def test_preprocess_network_and_answer_together_are_the_signature(
    name: str,
    combined: Mapping[Kind, Combined],
    loaded: Mapping[str, Any],
    images: Sequence[bytes],
) -> None:
    """Of both kinds, and of a backbone."""
    served = loaded[name] if name in loaded else combined[cast(Kind, name)].loaded
    pixels = served.preprocess(tf.constant(images))
    assert (pixels.dtype, pixels.shape.as_list()) == (tf.uint8, [20, 256, 256, 1])
    probabilities = served.network(tf.cast(pixels, tf.float32))[contract.FLAT]
    answer = served.answer(probabilities)
    expected = _served(served, contract.SIGNATURE_DEFAULT, images)
    assert set(answer) == set(expected)
    for output, value in expected.items():
        if output == contract.OUTPUT_PROBABILITIES:
            np.testing.assert_allclose(answer[output], value, atol=2e-5)
        else:
            assert answer[output].numpy().tolist() == value.tolist()
