"""A network that lends what was traced of it makes the models that the network itself makes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import boundary
from models.backbones import get_backbone
from models.boundary import CutNetwork, load_network
from models.classifier import BackboneModel, CalibratedHead, Classifier, Network
from models.fusion import FusedNetwork, load_fused
from models.heads import build_head
from models.hyperparameters import HeadParams
from models.lending import Lender, weight_keys
from models.lent_network import LentNetwork, load_part
from models.pretrained import save_pretrained
from models.saved_functions import load_functions
from models.signatures import export
from models.traced_network import keep
from schema import contract
from tests.miniatures import miniature_backbones

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
NAMES = ("xception", "densenet121")
# Of Xception two in an order that is not the network's.
TAPS = {
    "xception": (("block11", "block4_max"), ("last",), get_backbone("xception").fused_taps),
    "densenet121": (("conv3", "last"), get_backbone("densenet121").fused_taps),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Weights of miniatures, and beside them what was traced."""
    found = {name: str(tmp_path_factory.mktemp(name)) for name in NAMES}
    with miniature_backbones():
        for seed, (name, folder) in enumerate(found.items()):
            save_pretrained(name, folder, seed=seed)
            keep(name, "unit", [tuple(taps) for taps in TAPS[name]], folder)
    return found


def _no_network(*_: Any) -> None:
    raise AssertionError("a network was built")


def _loaded(name: str, folder: str, taps: Any) -> CutNetwork:
    with miniature_backbones():
        return load_network(name, "unit", "head", folder, tuple(taps))


def _heads(network: Network) -> dict[str, CalibratedHead]:
    """Random, and the same for networks with the same taps."""
    zeros = {
        name: {feature: tf.zeros([1, *spec.shape]) for feature, spec in part.features.items()}
        for name, part in network.parts.items()
    }
    channels = {name: tap.shape[-1] for name, tap in network.taps(zeros).items()}
    keras.utils.set_random_seed(7)
    moments = {name: (np.full(n, 0.1), np.ones(n)) for name, n in channels.items()}
    head = build_head(HeadParams(l2=0.01), channels, len(CLASSES), moments, 0)
    for variable in head.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return {contract.FLAT: CalibratedHead(head, 1.5)}


def _exported(network: Network, folder: Path) -> Path:
    classifier = Classifier(network, _heads(network))
    export(BackboneModel(_transform, classifier, CLASSES, 0.5), str(folder))
    return folder


def _transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {contract.TRANSFORMED_IMAGE: inputs[contract.IMAGE]}


def _pixels() -> np.ndarray:
    """Each brighter than the one before: means over all of an image's noise are much the same."""
    noise = np.random.default_rng(3).uniform(0, 80, (3, 256, 256, 1))
    return (noise * np.arange(1, 4)[:, np.newaxis, np.newaxis, np.newaxis]).astype(np.uint8)


def _answers(folder: Path) -> dict[str, np.ndarray]:
    """All that a client and another model can have of a SavedModel, by name."""
    pixels = _pixels()
    pngs = tf.stack([tf.io.encode_png(image) for image in pixels])
    signatures = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXPLAIN)
    loaded = load_functions(str(folder), ("network", "evidence"), signatures=signatures)
    found = {
        f"{signature} {name}": value
        for signature in signatures
        for name, value in loaded.signatures[signature](**{contract.INPUT_IMAGES: pngs}).items()
    }
    floats = tf.cast(pixels, tf.float32)
    found["network"] = loaded.network(floats)[contract.FLAT]
    rows = tf.range(len(pixels))
    found["evidence"] = loaded.evidence(floats, rows, tf.constant([0, 1, 2]))[contract.FLAT]
    return {name: value.numpy() for name, value in found.items()}


def _weights(folder: Path) -> list[np.ndarray]:
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    return [reader.get_tensor(key) for key in weight_keys(reader)]


def _assert_same_facts(lent: Any, network: Any) -> None:
    assert lent.multiply_adds == network.multiply_adds > 0
    assert (lent.features, lent.pools) == (network.features, network.pools)
    assert [*lent.features] == [*network.features]


def _assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# What is answered, the test of several networks asks, too.
@pytest.mark.parametrize("asked", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_head_behind_kept_functions_is_the_model_on_the_network_to_the_last_bit(
    asked: bool, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tap alone, test_one_head_... has one; of the model behind it no network is built."""
    name = "xception"
    taps = tuple(TAPS[name][0])
    network = _loaded(name, folders[name], taps)
    monkeypatch.setattr(boundary, "build_network", _no_network)
    lent = load_part(name, "unit", "head", folders[name], taps)
    assert isinstance(lent, LentNetwork)
    _assert_same_facts(lent, network)
    found = _exported(lent, tmp_path / "lent")
    # Training that goes on reads them in this order.
    mine, its = _weights(found), Classifier(network, _heads(network)).variables
    assert len(mine) == len(its) > 2
    for one, other in zip(mine, its, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    if asked:
        answers = _answers(_exported(network, tmp_path / "network"))
        assert np.ptp(answers["network"], axis=0).max() > 1e-3
        _assert_same(_answers(found), answers)


def test_one_head_on_kept_functions_of_several_networks_answers_to_the_last_bit(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FusedNetwork(
        {name: _loaded(name, folders[name], get_backbone(name).fused_taps) for name in NAMES}
    )
    monkeypatch.setattr(boundary, "build_network", _no_network)
    lent = load_fused(folders, dict.fromkeys(NAMES, "unit"))
    for name, part in lent.parts.items():
        assert isinstance(part, LentNetwork)
        _assert_same_facts(part, network.parts[name])
    assert lent.scales() == network.scales()
    expected = _answers(_exported(network, tmp_path / "network"))
    assert np.ptp(expected["network"], axis=0).max() > 1e-3
    _assert_same(_answers(_exported(lent, tmp_path / "lent")), expected)
    # And those of the model that was exported.
    classifier = Classifier(network, _heads(network))
    own = classifier.answers(classifier.feature_maps(tf.cast(_pixels(), tf.float32)))
    answered = expected[f"{contract.SIGNATURE_DEFAULT} {contract.OUTPUT_PROBABILITIES}"]
    np.testing.assert_allclose(answered, own[contract.FLAT], atol=1e-5)
    heat = expected[f"{contract.SIGNATURE_EXPLAIN} {contract.OUTPUT_HEAT_MAP}"]
    assert heat.shape == (3, 256, 256)
    assert heat.max() == 1


@pytest.mark.parametrize(
    ("scaling", "cut_at", "taps"),
    [
        (None, "head", ("conv3", "last")),
        ("unit", "head", ("last", "conv3")),
        ("unit", "head", ("conv4_16", "last")),
        ("unit", "head", None),
        ("unit", "conv5", ("conv3", "last")),
    ],
)
def test_what_is_not_kept_is_loaded(
    folders: dict[str, str], scaling: Any, cut_at: str, taps: tuple[str, ...] | None
) -> None:
    with miniature_backbones():
        part = load_part("densenet121", scaling, cut_at, folders["densenet121"], taps)
    assert isinstance(part, CutNetwork)


def test_where_nothing_is_kept_the_network_is_loaded(tiny_backbone: str, tmp_path: Path) -> None:
    save_pretrained(tiny_backbone, str(tmp_path), seed=0)
    part = load_part(tiny_backbone, None, "head", str(tmp_path), ("block1", "last"))
    assert isinstance(part, CutNetwork)


def test_a_function_is_not_lent_without_the_variables_that_it_reads() -> None:
    variables = [tf.Variable(float(number)) for number in range(3)]

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": x + variables[0] + variables[2]}

    lender = Lender.of_network("one", {"call": call}, variables)
    assert [w.read() for w in lender.reading([2, 0]).weights] == [2.0, 0.0]
    with pytest.raises(ValueError, match=r"call reads variables that aren't given: \[2\]"):
        lender.reading([0, 1])
