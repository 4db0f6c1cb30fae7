"""A server in a process of its own over the conformance models, and tiny models of this project."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.runtime import prepare_environment
from schema import contract
from serving.process import Server, running_server

if TYPE_CHECKING:
    import tensorflow as tf

    from models.boundary import CutNetwork

prepare_environment()

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]

# Small, so that the tests reach them.
LIMITS = (
    *("--max-body-bytes", "300000"),
    *("--max-batch-size", "64"),
    *("--max-pixels", "1000000"),
    *("--read-timeout-seconds", "1"),
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the conformance models with its models.config."""
    from serving.conformance.models import write_models

    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """It, with limits that tests can reach. Nothing may be changed in it."""
    with running_server("--model-config-file", str(models / "models.config"), *LIMITS) as running:
        yield running


def _transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    import tensorflow as tf

    from models.preprocessing import decode_and_resize

    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}


@pytest.fixture(scope="module")
def images(encode: Callable[..., bytes]) -> list[bytes]:
    """Eight PNGs, darker and brighter ones."""
    rng = np.random.default_rng(0)
    return [
        encode(np.kron(rng.integers(0, 20 + 20 * i, (8, 8)), np.ones((32, 32))).astype(np.uint8))
        for i in range(8)
    ]


@pytest.fixture(scope="module")
def versions(
    tiny_cut: Callable[..., CutNetwork],
    images: Sequence[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Name -> SavedModel: two backbones, and what is put together from them."""
    import tensorflow as tf

    from models.classifier import BackboneModel, CalibratedHead, Classifier
    from models.combination import CombinedModel, Rule
    from models.heads import build_head, build_hierarchical_head
    from models.hyperparameters import HeadParams
    from models.preprocessing import decode_and_resize
    from models.signatures import export
    from serving.servables.tensorflow_servable import TensorFlowServable

    folder = tmp_path_factory.mktemp("versions")
    network = tiny_cut("head")
    pixels = tf.stack([tf.cast(decode_and_resize(data), tf.float32) for data in images])
    taps = {k: v.numpy() for k, v in network.suffix(network.prefix(pixels)).items()}
    moments = {k: (v.mean(axis=0), np.full(v.shape[1], v.var())) for k, v in taps.items()}
    channels = {k: v.shape[1] for k, v in taps.items()}
    params = HeadParams(l2=0.01)
    found = {}
    for seed, name in enumerate(("a", "b")):
        heads = {
            contract.FLAT: CalibratedHead(build_head(params, channels, 3, moments, seed)),
            contract.HIERARCHICAL: CalibratedHead(
                build_hierarchical_head(params, channels, 3, 1, moments, seed)
            ),
        }
        found[name] = folder / name
        export(
            BackboneModel(_transform, Classifier(network, heads), CLASSES, 0.4), str(found[name])
        )
    # Held by a name: its functions don't keep its variables alive.
    servable = TensorFlowServable(found["a"])
    answers = servable.loaded.network(pixels)[contract.HIERARCHICAL].numpy()
    threshold = float(np.median(answers.max(axis=-1)))
    for kind in ("ensemble", "cascade"):
        rule = Rule(kind, ("a", "b"), threshold, 0.9)
        members = {name: str(found[name]) for name in ("a", "b")}
        found[kind] = folder / kind
        export(CombinedModel(_transform, rule, members, CLASSES, 0.4), str(found[kind]))
    return found
