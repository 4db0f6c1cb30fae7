"""Networks and cached features that the tests of models/ share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.runtime import prepare_environment

if TYPE_CHECKING:
    import keras

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


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes cached features of one split, and returns the pattern for `read`."""

    def call(
        name: str,
        features: Mapping[str, np.ndarray],
        labels: Sequence[int],
        views: Sequence[str] | None = None,
    ) -> list[str]:
        import tensorflow as tf

        from models.feature_records import serialize

        folder = tmp_path / name
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "features-00000-of-00001")) as writer:
            for row, label in enumerate(labels):
                record = serialize(
                    {tap: values[row] for tap, values in features.items()},
                    view=views[row] if views else "identity",
                    label=int(label),
                    class_name=b"class %d" % label,
                    sha256=b"%064x" % row,
                )
                writer.write(record)
        return [str(folder / "features-*")]

    return call
