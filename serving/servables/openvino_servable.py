"""A SavedModel of this project whose network OpenVINO runs.

TensorFlow decodes and resizes, with the model's own transform graph, and puts the answer
together; in between, where nearly all of the work is, OpenVINO runs the network (see
`models.signatures.ImageModel`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName, OpenVinoEngine
from models.openvino_runtime import convert, has_bf16
from models.signatures import parse_examples
from schema import contract
from schema.inputs import for_backbones
from serving.protocol.tensors import STRING, Tensors
from serving.servables.careful_engine import ALLOWED, CarefulEngine, largest_logit_difference
from serving.servables.servable import Signature, check_shapes
from serving.servables.tensorflow_servable import (
    TensorFlowServable,
    from_tensorflow,
    to_array,
    to_tensor,
)

# How far float32's log-odds may be from TensorFlow's, on average over the probes. A
# probability p moves by at most a quarter of what its log-odds move by (p (1 - p) <= 1/4), so
# this is 0.02. Not the probabilities themselves: where they are all but 0 or 1, nothing moves
# them.
TOLERANCE: Final = 4 * ALLOWED
# And bfloat16's at most, where float32 takes over what it is unsure of: beyond, that is nearly all.
_BF16_TOLERANCES: Final = 6
_PARTS: Final = ("preprocess", "network", "answer")
_SMOOTH_PROBES: Final = 4
_COARSE_PROBES: Final = 12
# Below it, a probability is 0.
_TINY: Final = 1e-7


class NotConvertibleError(Exception):
    """OpenVINO can't run this SavedModel, or not well enough."""


class OpenVinoServable(TensorFlowServable):
    """A servable with the network of `serving_default` and `serve_examples` on OpenVINO."""

    def __init__(self, directory: Path, precision: str = "auto") -> None:
        """Load and convert the SavedModel, and compare a few answers with TensorFlow's.

        Args:
            directory: a version's folder.
            precision: `bf16`, `f32`, or `auto`, which takes bf16 where the CPU has it and
                its answers are close enough.

        Raises:
            ServingError: no SavedModel that can be loaded.
            NotConvertibleError: it is none of this project's, or OpenVINO can't take it.
        """
        super().__init__(directory)
        self._engine = checked_engine(self, convert_network(self, directory), directory, precision)
        self.engine = self._engine.name

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        if signature.name not in _signature_names():
            return super()._run(signature, inputs)
        check_shapes(signature, inputs)
        (value,) = inputs.values()
        if not len(value):
            return super()._run(signature, inputs)
        strings = to_tensor(value, STRING)
        try:
            if signature.name == contract.SIGNATURE_EXAMPLES:
                (strings,) = parse_examples(strings, [for_backbones()])
            pixels = self.loaded.preprocess(strings).numpy()
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        probabilities = self._engine(pixels)[contract.FLAT]
        outputs = self.loaded.answer(tf.constant(probabilities))
        return {key: to_array(outputs[key]) for key in signature.outputs}


def convert_network(servable: TensorFlowServable, directory: Path) -> Any:
    """Convert the network of one of this project's SavedModels for OpenVINO.

    Args:
        servable: the SavedModel, loaded.
        directory: its folder, for messages.

    Returns:
        An `openvino.Model`, `pixels` float32 [1, 256, 256, 1] -> each head's probabilities,
        float32 [1, n], under the head's name.

    Raises:
        NotConvertibleError: it is none of this project's, or OpenVINO can't take it.
    """
    missing = [part for part in _PARTS if not hasattr(servable.loaded, part)]
    if missing or not _signature_names() <= set(servable.signatures):
        raise NotConvertibleError(f"{directory} is no model of this pipeline")
    try:
        network = servable.loaded.network.concrete_functions[0]
        model = convert(network)
        model.reshape([1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1])
    # OpenVINO has no class of its own for what goes wrong.
    except Exception as error:
        raise NotConvertibleError(f"{directory}: {error}") from error
    return model


def checked_engine(
    servable: TensorFlowServable, model: Any, directory: Path, precision: str
) -> OpenVinoEngine | CarefulEngine:
    """Choose the fastest engine whose answers to a few images are close to TensorFlow's.

    bfloat16 answers what it is sure of, and hands on the rest to float32.

    Args:
        servable: the SavedModel, loaded.
        model: what `convert_network` made of it.
        directory: its folder, for messages.
        precision: `bf16`, `f32`, or `auto` for bf16 where the CPU has it, else f32.

    Raises:
        NotConvertibleError: OpenVINO can't compile the model, or no answers are close enough.
    """
    pixels = probe_pixels()
    expected = servable.loaded.network(tf.cast(pixels, tf.float32))[contract.FLAT].numpy()
    for name in _engines(precision):
        try:
            engine = OpenVinoEngine(model, [contract.FLAT], name)
            found = engine(pixels)[contract.FLAT]
            if name == OPENVINO_F32:
                difference, allowed = log_odds_difference(found, expected), TOLERANCE
                chosen: OpenVinoEngine | CarefulEngine = engine
            else:
                difference = largest_logit_difference(found, expected)
                allowed = _BF16_TOLERANCES * TOLERANCE
                exact = OpenVinoEngine(model, [contract.FLAT], OPENVINO_F32)
                chosen = CarefulEngine(engine, exact, difference)
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error
        if difference <= allowed:
            return chosen
        logging.warning("%s: %s is %.3f log-odds off TensorFlow", directory, name, difference)
    raise NotConvertibleError(f"{directory}: OpenVINO's answers are off TensorFlow's")


def _signature_names() -> set[str]:
    return {contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES}


def _engines(precision: str) -> list[EngineName]:
    if precision == "auto":
        return [OPENVINO_BF16, OPENVINO_F32] if has_bf16() else [OPENVINO_F32]
    return [OPENVINO_BF16 if precision == "bf16" else OPENVINO_F32]


def log_odds_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Compute how far apart two engines' answers are.

    Args:
        found: probabilities [images, n].
        expected: the other engine's.

    Returns:
        Of each image, the largest difference of log(p_i / p_j); the mean over the images.
    """

    def log_odds(probabilities: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
        return logs[:, :, np.newaxis] - logs[:, np.newaxis, :]

    differences = np.abs(log_odds(found) - log_odds(expected)).max(axis=(1, 2))
    return float(differences.mean())


def probe_pixels() -> np.ndarray:
    """Make images to compare engines on: smooth and coarse fields, no radiographs.

    Returns:
        uint8 [16, 256, 256, 1], always the same.
    """
    return np.stack([*_smooth_fields(), *_coarse_fields()])[..., np.newaxis].astype(np.uint8)


def _smooth_fields() -> Iterator[np.ndarray]:
    """Draw two dark lobes, crossed by bars, on grounds of different brightness."""
    side = np.linspace(-1.0, 1.0, contract.IMAGE_SIZE)
    columns, rows = np.meshgrid(side, side)
    for index in range(_SMOOTH_PROBES):
        lungs = np.exp(-8 * ((np.abs(columns) - 0.4) ** 2 + rows**2 / (1 + index)))
        ribs = 0.1 * np.sin(20 * rows + index)
        yield 255 * np.clip(0.35 + 0.1 * index + ribs - 0.4 * lungs, 0, 1)


def _coarse_fields() -> Iterator[np.ndarray]:
    """Draw random grey levels on grids of 2 to 128 cells a side."""
    rng = np.random.default_rng(0)
    for index in range(_COARSE_PROBES):
        cells = 2 ** (1 + index % 7)
        levels = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        size = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)
        yield np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR))
