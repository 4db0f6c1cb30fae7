"""Networks and cached features that the tests of models/ share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from common.runtime import prepare_environment
from tests.miniatures import miniature_backbones

if TYPE_CHECKING:
    import keras

Store = Callable[..., list[str]]

# Before any test module of this folder imports TensorFlow.
prepare_environment()


@pytest.fixture(scope="session")
def real_network() -> Callable[[str], keras.Model]:
    """Name -> the real network with random weights, built once; nobody may train it."""
    built: dict[str, keras.Model] = {}

    def call(name: str) -> keras.Model:
        from models.backbones import build_network, get_backbone

        if name not in built:
            built[name] = build_network(get_backbone(name))
        return built[name]

    return call


@pytest.fixture(scope="session")
def miniature_network() -> Callable[[str], keras.Model]:
    """Name -> the row's miniature with random weights, built once; nobody may train it."""
    built: dict[str, keras.Model] = {}

    def call(name: str) -> keras.Model:
        import keras

        from models.backbones import build_network, get_backbone

        if name not in built:
            keras.utils.set_random_seed(0)
            with miniature_backbones():
                built[name] = build_network(get_backbone(name))
        return built[name]

    return call


@pytest.fixture(scope="session")
def mixed_network() -> keras.Model:
    """A small network of the kinds of layers that the real ones have; nobody may train it.

    Image -> {"early": map, "nested": map, "last": [batch, channels]}.
    """
    import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((256, 256, 1), name="grey")
    x = layers.Concatenate()([layers.Rescaling(1 / 255)(image)] * 3)
    x = layers.ZeroPadding2D(((1, 0), (1, 0)))(x)
    x = layers.Conv2D(6, 7, strides=4, use_bias=False)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    early = x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    separable = layers.SeparableConv2D(10, 3, padding="same", use_bias=False)(x)
    shortcut = layers.Conv2D(10, 1)(x)
    x = layers.Add()([layers.BatchNormalization()(separable), shortcut])
    inner = keras.Input(x.shape[1:])
    x = keras.Model(inner, layers.DepthwiseConv2D(3, strides=2)(inner), name="inner")(x)
    nested = x = layers.AveragePooling2D(2)(layers.Concatenate()([x, layers.ReLU()(x)]))
    last = layers.Dense(7)(layers.GlobalAveragePooling2D()(x))
    network = keras.Model(image, {"early": early, "nested": nested, "last": last})
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return network


def _store_in(root: Path) -> Store:
    """Writes cached features of one split into a folder of its own, and returns the pattern."""

    def call(
        name: str,
        features: Mapping[str, np.ndarray],
        labels: Sequence[int],
        augmentations: Sequence[str] | None = None,
        images: Sequence[int] | None = None,
        groups: Sequence[str] | None = None,
    ) -> list[str]:
        import tensorflow as tf

        from models.feature_records import serialize

        folder = root / name
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "features-00000-of-00001")) as writer:
            for row, label in enumerate(labels):
                image = f"{name} {images[row] if images else row}"
                own = hashlib.sha256(image.encode()).hexdigest().encode()
                record = serialize(
                    {tap: values[row] for tap, values in features.items()},
                    augmentation=augmentations[row] if augmentations else "identity",
                    label=int(label),
                    class_name=b"class %d" % label,
                    sha256=own,
                    group=groups[row].encode() if groups else own,
                )
                writer.write(record)
        return [str(folder / "features-*")]

    return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Writes cached features of one split, and returns the pattern for `read`."""
    return _store_in(tmp_path)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """As `store`, for what the tests of a module share."""
    return _store_in(tmp_path_factory.mktemp("features"))
