"""A loaded SavedModel: what it can be asked, and the asking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from grpc import StatusCode

from models.rendering import DEFAULT, Rendering
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import NUMPY_TYPES, STRING, Tensors, TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.protobuf import meta_graph_pb2

DEFAULT_SIGNATURE: Final = "serving_default"
PREDICT: Final = "tensorflow/serving/predict"
CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"


@dataclass(frozen=True)
class Signature:
    """One of a SavedModel's signatures.

    Attributes:
        name: that clients ask for.
        method: TensorFlow's name of what it is meant for, such as PREDICT.
        inputs: name -> what may be fed.
        outputs: name -> what comes out.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def is_optional(self, name: str) -> bool:
        """Return whether an input may be left out."""
        return name in self.inputs and self.inputs[name].default is not None

    def filled(self, inputs: Tensors) -> Tensors:
        """Add what may be left out, and was: for each row its default.

        Args:
            inputs: name -> value, of a request.
        """
        lacking = [name for name in self.inputs if name not in inputs and self.is_optional(name)]
        if not lacking:
            return inputs
        rows = max((len(value) for value in inputs.values() if value.ndim), default=1)
        return inputs | {
            name: np.full(rows, spec.default, NUMPY_TYPES[spec.type_name])
            for name, spec in ((name, self.inputs[name]) for name in lacking)
        }


class Servable(ABC):
    """One version of one model, in memory. Any number of threads may ask it at once.

    Attributes:
        engine: name of what runs it.
        rendering: of DICOM, before it is asked.
        signatures: by name.
        signature_defs: the same as protocol buffers, for the metadata.
    """

    engine: str
    rendering: Rendering = DEFAULT

    def __init__(
        self,
        signatures: Mapping[str, Signature],
        signature_defs: Mapping[str, meta_graph_pb2.SignatureDef],
    ) -> None:
        """Keep what is known of the SavedModel."""
        self.signatures = signatures
        self.signature_defs = signature_defs
        self._at_close: list[Callable[[], object]] = []

    def at_close(self, call: Callable[[], object]) -> None:
        """Have something called once nobody asks this servable any more."""
        self._at_close.append(call)

    def close(self) -> None:
        """Give back what is held outside of memory; nobody may ask any more."""
        while self._at_close:
            self._at_close.pop()()

    @abstractmethod
    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Compute all outputs of a signature from inputs that fit it."""

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        """Compute a signature's outputs.

        Args:
            signature_name: empty for the default.
            inputs: name -> value, for each input of the signature that has no default.
            outputs: names of those wanted; all where empty.

        Raises:
            ServingError: inputs or outputs that don't fit, or that the model can't cope with.
        """
        signature = self.signature(signature_name)
        inputs = signature.filled(inputs)
        _check_inputs(signature, inputs)
        unknown = [name for name in outputs if name not in signature.outputs]
        if unknown:
            raise invalid(
                f"output tensor alias not found in signature: {unknown[0]} Outputs expected to be "
                f"in the set {{{','.join(sorted(signature.outputs))}}}."
            )
        twice = [name for i, name in enumerate(outputs) if name in outputs[:i]]
        if twice:
            raise invalid(f"duplicate output tensor alias: {twice[0]}")
        computed = self._run(signature, inputs)
        return {name: computed[name] for name in outputs or computed}

    def signature(self, name: str) -> Signature:
        """Return a signature by its name; the default where that is empty.

        Raises:
            ServingError: there is none.
        """
        key = name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            raise ServingError(
                StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.'
            )
        return self.signatures[key]

    def input_specs(self, name: str) -> Mapping[str, TensorSpec]:
        """Describe a signature's inputs, as a REST request needs them.

        Raises:
            ServingError: there is no such signature.
        """
        key = name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            raise invalid(f'Serving signature name: "{key}" not found in signature def')
        return self.signatures[key].inputs


def _check_inputs(signature: Signature, inputs: Tensors) -> None:
    extra = sorted(set(inputs) - set(signature.inputs))
    missing = sorted(set(signature.inputs) - set(inputs))
    if extra or missing:
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)} "
            f"len({{{','.join(sorted(inputs))}}}) != "
            f"len({{{','.join(sorted(signature.inputs))}}}). Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(missing)}}}."
        )
    for name, value in inputs.items():
        # Of what may be left out alone: TensorFlow itself says it of the rest, in its own words.
        if signature.is_optional(name) and not _is_of(signature.inputs[name], value):
            raise invalid(
                f"input {name} of the signature {signature.name} takes "
                f"{signature.inputs[name].type_name}, and got {value.dtype}"
            )


def _is_of(spec: TensorSpec, value: np.ndarray) -> bool:
    if spec.type_name == STRING:
        return value.dtype == np.object_
    return value.dtype.kind in "fiu" and np.can_cast(value.dtype, np.float64)


def check_shapes(signature: Signature, inputs: Tensors) -> None:
    """Compare values with what a signature says of its inputs.

    TensorFlow Serving doesn't, and neither does TensorFlow where the graph takes other shapes
    than it declares.

    Raises:
        ServingError: a shape that the signature doesn't declare.
    """
    for name, value in inputs.items():
        spec = signature.inputs[name]
        if not spec.accepts(value.shape):
            wanted = ",".join("?" if size < 0 else str(size) for size in spec.shape or ())
            raise invalid(
                f"Tensor {name} has shape [{','.join(map(str, value.shape))}], "
                f"and the signature {signature.name} takes [{wanted}]."
            )
