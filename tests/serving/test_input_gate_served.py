"""The input gate behind OpenVINO: the same answers as TensorFlow's, of one model and of several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.combined_model import CombinedModel
from models.engines import OPENVINO_BF16
from models.rule import Rule
from models.signatures import export
from schema import contract
from serving.networks.store import Store
from serving.networks.versions import Networks
from serving.protocol.tensors import strings
from serving.servables.careful_engine import CarefulEngine
from serving.servables.openvino_servable import OpenVinoServable
from serving.servables.tensorflow_servable import TensorFlowServable
from tests.models.test_input_gate_models import (
    CLASSES,
    EXPECTED,
    Made,
    _files,
    _transform,
    asked,
    made,
)

__all__ = ["asked", "made"]  # Fixtures.


@pytest.fixture(scope="module")
def folders(made: Mapping[str, Made], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A backbone's model, an ensemble and a cascade of two."""
    root = tmp_path_factory.mktemp("served")
    members = {name: str(each.folder) for name, each in made.items()}
    found = {"alone": made["cross"].folder}
    for kind in ("ensemble", "cascade"):
        rule = Rule(kind, tuple(members), 0.9, 1.0)
        found[kind] = root / kind
        export(CombinedModel(_transform, rule, members, CLASSES, 0.5), str(found[kind]))
    return found


def _reasons(servable: Any, files: list[bytes]) -> list[str]:
    given = {contract.INPUT_IMAGES: strings(files)}
    outputs = servable.run(contract.SIGNATURE_DEFAULT, given)
    reasons = [
        each.decode() if isinstance(each, bytes) else str(each)
        for each in np.asarray(outputs[contract.OUTPUT_DOMAIN_REASON]).tolist()
    ]
    in_domain = np.asarray(outputs[contract.OUTPUT_IN_DOMAIN]).tolist()
    assert in_domain == [reason == "ok" for reason in reasons]
    return reasons


@pytest.mark.parametrize("kind", ["alone", "ensemble", "cascade"])
def test_openvino_says_what_tensorflow_says(
    folders: Mapping[str, Path], asked: np.ndarray, tmp_path: Path, kind: str
) -> None:
    files = _files(asked)
    expected = _reasons(TensorFlowServable(folders[kind]), files)
    assert expected[: len(EXPECTED)] == EXPECTED
    for _ in ("converted", "kept on disk"):
        servable = OpenVinoServable(folders[kind], networks=Networks(Store(tmp_path)))
        assert servable.engine.startswith("openvino")
        assert _reasons(servable, files) == expected
        assert _reasons(servable, []) == []


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
