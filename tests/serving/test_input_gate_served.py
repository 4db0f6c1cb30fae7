"""The input gate behind OpenVINO: the same answers as TensorFlow's, of one model and of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.engines import OPENVINO_BF16
from models.preprocessing import decode_and_resize
from schema import contract
from serving.networks.store import Store
from serving.networks.versions import Networks
from serving.protocol.tensors import strings
from serving.servables.careful_engine import CarefulEngine
from serving.servables.openvino_servable import OpenVinoServable
from tests.models.test_input_gate import blanks
from tests.serving.conftest import answers_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(images: Sequence[bytes]) -> list[bytes]:
    """Phantoms as they should be, and each of them spoilt."""
    upright = np.stack([decode_and_resize(data).numpy() for data in images[:3]])
    turned = np.rot90(upright, 1, axes=(1, 2))
    spoilt = np.concatenate([upright, 255 - upright, turned, blanks()])
    return [tf.io.encode_png(image).numpy() for image in spoilt]


def _answers(servable: OpenVinoServable, files: list[bytes]) -> Mapping[str, np.ndarray]:
    return servable.run(contract.SIGNATURE_DEFAULT, {contract.INPUT_IMAGES: strings(files)})


def _reasons(outputs: Mapping[str, np.ndarray]) -> list[str]:
    reasons = [
        each.decode() if isinstance(each, bytes) else str(each)
        for each in np.asarray(outputs[contract.OUTPUT_DOMAIN_REASON]).tolist()
    ]
    in_domain = np.asarray(outputs[contract.OUTPUT_IN_DOMAIN]).tolist()
    assert in_domain == [reason == "ok" for reason in reasons]
    return reasons


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What was converted; the cascade finds its members there."""
    return Store(tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("name", ["a", pytest.param("cascade", marks=pytest.mark.long)])
def test_openvino_says_what_tensorflow_says(
    name: str, store: Store, versions: dict[str, Path], files: list[bytes]
) -> None:
    expected = _reasons(answers_of(versions[name], files))
    assert {"ok", "inverted", "blank"} <= set(expected)
    # Converted, and then kept on disk.
    for precision in ("f32", "auto"):
        servable = OpenVinoServable(versions[name], precision, Networks(store))
        assert servable.engine.startswith("openvino")
        assert _reasons(_answers(servable, files)) == expected
        assert _reasons(_answers(servable, [])) == []


class _Engine:
    """Sure of every class, and says these distances."""

    def __init__(self, distances: list[float]) -> None:
        self.name = OPENVINO_BF16
        self.asked = 0
        self._distances = np.array(distances, np.float32)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.asked += len(images)
        return {
            contract.FLAT: np.tile(np.array([[1.0, 0.0]], np.float32), (len(images), 1)),
            contract.DISTANCE: self._distances[images[:, 0, 0, 0]][:, np.newaxis],
        }

    def compile(self) -> None:
        """Do nothing."""


def test_what_a_fast_engine_finds_nearly_too_far_is_asked_again() -> None:
    fast, exact = _Engine([0.5, 0.95, 1.2]), _Engine([0.0, 1.01, 0.99])
    images = np.zeros((3, 256, 256, 1), np.uint8)
    images[:, 0, 0, 0] = range(3)
    found = CarefulEngine(fast, exact, 0.1)(images)
    np.testing.assert_allclose(found[contract.DISTANCE][:, 0], [0.5, 1.01, 0.99])
    assert exact.asked == 2
