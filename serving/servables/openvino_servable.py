"""A SavedModel of this project whose network OpenVINO runs.

TensorFlow decodes and resizes, with the model's own transform graph, and puts the answer
together; in between, where nearly all of the work is, OpenVINO runs the network (see
`models.signatures.ImageModel`). Where the network was converted before, TensorFlow gets no more
of the SavedModel than these two ends, until somebody asks for another signature.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from models.signatures import parse_examples
from schema import contract
from schema.inputs import for_backbones
from serving.networks.conversion import signature_names
from serving.networks.int8_serving import engine_with_int8
from serving.networks.versions import Networks
from serving.protocol.tensors import STRING, Tensors
from serving.servables.servable import Signature, check_shapes
from serving.servables.tensorflow_servable import (
    TensorFlowServable,
    from_tensorflow,
    to_array,
    to_tensor,
)


class OpenVinoServable(TensorFlowServable):
    """A servable with the network of `serving_default` and `serve_examples` on OpenVINO."""

    def __init__(
        self,
        directory: Path,
        precision: str = "auto",
        networks: Networks | None = None,
        *,
        insist: bool = True,
    ) -> None:
        """Load the version's networks; convert them first where that wasn't done before.

        Args:
            directory: a version's folder.
            precision: `bf16`, `f32`, or `auto`, which takes bf16 where the CPU gains and
                its answers are close enough; or `int8`, which goes first where it was chosen at
                the push, before what `auto` takes.
            networks: those in memory and on disk; none where None.
            insist: take int8 also on a CPU on which nobody measured it.

        Raises:
            ServingError: no SavedModel.
            NotConvertibleError: it is none of this project's, can't be loaded, or OpenVINO can't
                take it.
        """
        super().__init__(directory, lazy=True)
        # What is asked for seldom is loaded when it is.
        networks = networks or Networks()
        version = networks.load(directory, "auto" if precision == "int8" else precision)
        self._engine, self._front = version.engine, version.front
        if precision == "int8":
            self._engine = engine_with_int8(directory, version, networks.trunks, insist=insist)
        self.engine = self._engine.name

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        if signature.name not in signature_names() or self._reads_a_table(signature):
            return super()._run(signature, inputs)
        check_shapes(signature, inputs)
        (value,) = inputs.values()
        strings = to_tensor(value, STRING)
        try:
            if signature.name == contract.SIGNATURE_EXAMPLES:
                (strings,) = parse_examples(strings, [for_backbones()])
            pixels = self._front.preprocess(strings).numpy()
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        if len(pixels):
            found = self._engine(pixels)
        else:
            classes = self._front.answer.concrete_functions[0].inputs[0].shape[-1]
            found = {
                contract.FLAT: np.zeros((0, classes), np.float32),
                contract.DISTANCE: np.zeros((0, 1), np.float32),
            }
        outputs = dict(self._front.answer(tf.constant(found[contract.FLAT])))
        if hasattr(self._front, "screen"):
            distances = tf.constant(found[contract.DISTANCE])
            outputs |= self._front.screen(tf.constant(pixels), distances)
        return {key: to_array(outputs[key]) for key in signature.outputs}

    def _reads_a_table(self, signature: Signature) -> bool:
        """Return whether examples hold more of what the model takes than an image."""
        by_example = signature.name == contract.SIGNATURE_EXAMPLES
        return by_example and contract.SIGNATURE_TABLE in self.signatures
