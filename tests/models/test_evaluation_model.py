"""What a model makes of cached features is what it makes of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models import evaluation_model, feature_records
from models.boundary import CutNetwork
from models.classifier import CalibratedHead, Classifier
from models.combination import combine
from models.evaluation_model import HeadsOfClassifier, HeadsOfCombination
from models.heads import build_head, build_hierarchical_head
from models.hyperparameters import HeadParams
from models.rule import Rule
from schema import contract

Store = Callable[..., list[str]]
BOTH = (contract.FLAT, contract.HIERARCHICAL)


@pytest.fixture(scope="module")
def pixels() -> tf.Tensor:
    rng = np.random.default_rng(0)
    return tf.constant(rng.integers(0, 256, (5, 256, 256, 1)), tf.float32)


def _classifier(network: CutNetwork, pixels: tf.Tensor) -> Classifier:
    taps = {k: v.numpy() for k, v in network.pooled(network.maps(pixels)).items()}
    moments = {k: (v.mean(axis=0), np.full(v.shape[1], v.var() / 4)) for k, v in taps.items()}
    channels = {k: v.shape[1] for k, v in taps.items()}
    params = HeadParams(l2=0.01)
    hierarchical = build_hierarchical_head(params, channels, 3, 1, moments, 0)
    flat = build_head(params, channels, 3, moments, 0)
    return Classifier(
        network,
        {
            contract.FLAT: CalibratedHead(flat, 1.5),
            contract.HIERARCHICAL: CalibratedHead(hierarchical, 1.3),
        },
    )


def _cached(network: CutNetwork, pixels: tf.Tensor) -> dict[str, np.ndarray]:
    """What Featurizer stores."""
    found = network.prefix(pixels, training=False)
    return {n: found[n].numpy().astype(spec.dtype) for n, spec in network.features.items()}


@pytest.mark.parametrize("boundary", ["input", "block2", "head"])
def test_a_backbones_answers_are_those_of_the_image(
    boundary: str,
    tiny_cut: Callable[..., CutNetwork],
    pixels: tf.Tensor,
    store: Store,
    tmp_path: Path,
) -> None:
    network = tiny_cut(boundary)
    classifier = _classifier(network, pixels)
    expected = classifier.answers(classifier.feature_maps(pixels))
    folder = str(tmp_path / "heads")
    assert not evaluation_model.is_there(folder)
    evaluation_model.write(HeadsOfClassifier(classifier, {network.backbone: "digest"}), folder)
    assert evaluation_model.is_there(folder)

    (name,) = members = evaluation_model.read_members(folder)
    assert members[name] == evaluation_model.Member("digest", network.features)
    files = store("test", _cached(network, pixels), [0] * 5)
    assert evaluation_model.holds(files, network.features)
    found = evaluation_model.answer_all(folder, {name: files, "another": []})
    hashes = feature_records.read_hashes(files, augmentations=("identity",))
    assert sorted(found) == sorted(hashes)
    # Maps are kept as float16.
    rounding = 2e-3 if boundary == "block2" else 1e-5
    for head in BOTH:
        rows = np.stack([found[sha256][head] for sha256 in hashes])
        np.testing.assert_allclose(rows, expected[head], rtol=0, atol=rounding)
    assert {*found[hashes[0]]} == set(BOTH)


@pytest.fixture(scope="module")
def member(
    tiny_cut: Callable[..., CutNetwork],
    pixels: tf.Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, CutNetwork]:
    network = tiny_cut("head")
    folder = tmp_path_factory.mktemp("member") / "heads"
    evaluation_model.write(
        HeadsOfClassifier(_classifier(network, pixels), {network.backbone: "digest"}), str(folder)
    )
    return str(folder), network


class _Second(tf.Module):
    """Another member, which says much the same the other way round."""

    gate = None
    parts = ()

    def __init__(self, member: Mapping[str, Any], network: CutNetwork, folder: str) -> None:
        super().__init__()
        self.members = {"second": next(iter(member.values()))}
        self._loaded = tf.saved_model.load(folder)
        self.weights = [self._loaded.weights]
        signature = {
            "second": {
                n: tf.TensorSpec([None, *s.shape], s.dtype) for n, s in network.features.items()
            }
        }
        name = network.backbone
        self.answers = tf.function(
            lambda features: {
                head: values[:, ::-1]
                for head, values in self._loaded.answers({name: features["second"]}).items()
            },
            input_signature=[signature],
            autograph=False,
        )


@pytest.fixture(scope="module")
def second(member: tuple[str, CutNetwork], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, network = member
    written = str(tmp_path_factory.mktemp("second") / "heads")
    evaluation_model.write(_Second(evaluation_model.read_members(folder), network, folder), written)
    return written


@pytest.fixture(scope="module")
def alone(member: tuple[str, CutNetwork], pixels: tf.Tensor) -> dict[str, np.ndarray]:
    """Head -> what the member says of the images."""
    folder, network = member
    loaded = tf.saved_model.load(folder)
    told = loaded.answers({network.backbone: _cached(network, pixels)})
    return {head: values.numpy() for head, values in told.items()}


@pytest.mark.parametrize("kind", ["ensemble", "cascade"])
def test_a_combinations_answers_follow_its_rule(
    kind: Any,
    alone: Mapping[str, np.ndarray],
    member: tuple[str, CutNetwork],
    second: str,
    pixels: tf.Tensor,
    store: Store,
    tmp_path: Path,
) -> None:
    folder, network = member
    cached = _cached(network, pixels)
    answers = [dict(alone), {head: values[:, ::-1] for head, values in alone.items()}]
    confidence = np.sort(answers[0][contract.HIERARCHICAL].max(axis=-1))
    rule = Rule(kind, (network.backbone, "second"), float(confidence[2]), 1.7)
    together = str(tmp_path / "together")
    evaluation_model.write(
        HeadsOfCombination(rule, {network.backbone: folder, "second": second}), together
    )
    files = dict.fromkeys(rule.members, store("test", cached, [0] * 5))
    heads = evaluation_model.LoadedHeads(together)
    found = heads.ask(files)
    hashes = feature_records.read_hashes(files["second"], augmentations=("identity",))
    rows = np.stack([found[sha256][contract.FLAT] for sha256 in hashes])
    np.testing.assert_allclose(rows, combine(rule, answers), rtol=0, atol=1e-6)

    with pytest.raises(ValueError, match=r"features of .*second are of different images"):
        backwards = _reversed(files["second"], tmp_path)
        heads.ask(files | {"second": backwards})


def _reversed(patterns: Sequence[str], folder: Path) -> list[str]:
    (file,) = tf.io.gfile.glob(patterns[0])
    records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(folder / "reversed")) as writer:
        for record in records[::-1]:
            writer.write(record)
    return [str(folder / "reversed")]


def test_features_that_are_not_there_are_missed(
    member: tuple[str, CutNetwork], pixels: tf.Tensor, store: Store
) -> None:
    _, network = member
    cached = _cached(network, pixels)
    first = next(iter(cached))
    files = store("less", {n: v for n, v in cached.items() if n != first}, [0] * 5)
    assert not evaluation_model.holds(files, network.features)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluation_model.holds(["nowhere"], network.features)
