"""A SavedModel of this project whose network OpenVINO runs.

TensorFlow decodes and resizes, with the model's own transform graph, and puts the answer
together; in between, where nearly all of the work is, OpenVINO runs the network (see
`models.signatures.ServedModel`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from absl import logging

from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName, OpenVinoEngine
from models.openvino_runtime import has_bf16, import_openvino
from schema import contract
from serving.protocol.tensors import Tensors
from serving.servables.servable import Signature, check_shapes
from serving.servables.tensorflow_servable import TensorFlowServable, from_tensorflow, to_array

# How far a probability may be from TensorFlow's.
TOLERANCE: Final = 0.02
_PARTS: Final = ("preprocess", "network", "answer")
_PROBES: Final = 4


class NotConvertibleError(Exception):
    """OpenVINO can't run this SavedModel, or not well enough."""


class OpenVinoServable(TensorFlowServable):
    """Runs the network of `serving_default` and `serve_examples` on OpenVINO."""

    def __init__(self, directory: Path, precision: str = "auto") -> None:
        """Loads and converts the SavedModel, and compares a few answers with TensorFlow's.

        Args:
            directory: a version's folder.
            precision: `bf16`, `f32`, or `auto`, which takes bf16 where the CPU has it and
                its answers are within TOLERANCE.

        Raises:
            ServingError: no SavedModel that can be loaded.
            NotConvertibleError: it is none of this project's, or OpenVINO can't take it.
        """
        super().__init__(directory)
        missing = [part for part in _PARTS if not hasattr(self.loaded, part)]
        if missing or not _signature_names() <= set(self.signatures):
            raise NotConvertibleError(f"{directory} is no model of this pipeline")
        self._engine = self._convert(directory, precision)
        self.engine = self._engine.name

    def _convert(self, directory: Path, precision: str) -> OpenVinoEngine:
        try:
            model = import_openvino().convert_model(self.loaded.network.concrete_functions[0])
            model.reshape([1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1])
        # OpenVINO has no class of its own for what goes wrong.
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error
        pixels = probe_pixels()
        expected = self.loaded.network(tf.cast(pixels, tf.float32))[contract.FLAT].numpy()
        for name in _engines(precision):
            try:
                engine = OpenVinoEngine(model, [contract.FLAT], name)
                difference = float(np.abs(engine(pixels)[contract.FLAT] - expected).max())
            except Exception as error:
                raise NotConvertibleError(f"{directory}: {error}") from error
            if difference <= TOLERANCE:
                return engine
            logging.warning("%s: %s is %.3f off TensorFlow", directory, name, difference)
        raise NotConvertibleError(f"{directory}: OpenVINO's answers are off TensorFlow's")

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        if signature.name not in _signature_names():
            return super()._run(signature, inputs)
        check_shapes(signature, inputs)
        (value,) = inputs.values()
        strings = tf.constant(value.tolist(), tf.string, value.shape)
        if not len(value):
            return super()._run(signature, inputs)
        try:
            if signature.name == contract.SIGNATURE_EXAMPLES:
                strings = _images_of(strings)
            pixels = self.loaded.preprocess(strings).numpy()
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        probabilities = self._engine(pixels)[contract.FLAT]
        outputs = self.loaded.answer(tf.constant(probabilities))
        return {key: to_array(outputs[key]) for key in signature.outputs}


def _signature_names() -> set[str]:
    return {contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES}


def _images_of(examples: tf.Tensor) -> Any:
    spec = {contract.IMAGE: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(examples, spec)[contract.IMAGE]


def _engines(precision: str) -> list[EngineName]:
    if precision == "auto":
        return [OPENVINO_BF16, OPENVINO_F32] if has_bf16() else [OPENVINO_F32]
    return [OPENVINO_BF16 if precision == "bf16" else OPENVINO_F32]


def probe_pixels() -> np.ndarray:
    """Images to compare engines on: smooth fields of different brightness, no radiographs.

    Returns:
        uint8 [4, 256, 256, 1], always the same.
    """
    side = np.linspace(-1.0, 1.0, contract.IMAGE_SIZE)
    columns, rows = np.meshgrid(side, side)
    images = []
    for index in range(_PROBES):
        lungs = np.exp(-8 * ((np.abs(columns) - 0.4) ** 2 + rows**2 / (1 + index)))
        ribs = 0.1 * np.sin(20 * rows + index)
        images.append(255 * np.clip(0.35 + 0.1 * index + ribs - 0.4 * lungs, 0, 1))
    return np.stack(images)[..., np.newaxis].astype(np.uint8)
