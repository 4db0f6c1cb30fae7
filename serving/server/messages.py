"""TensorFlow Serving's protocol buffers, to and from what the service works with."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
)

from common.compat import whole_message
from serving.core.manager import Lent, VersionStatus
from serving.protocol.examples_request import with_context
from serving.protocol.paths import ModelRef
from serving.protocol.status import invalid
from serving.protocol.tensors import Tensors

SIGNATURE_DEF = "signature_def"


def to_tensors(inputs: dict[str, tensor_pb2.TensorProto]) -> Tensors:
    """Read a request's tensors.

    Raises:
        ServingError: one can't be read.
    """
    tensors = {}
    for name, proto in inputs.items():
        try:
            array = np.asarray(tf.make_ndarray(proto))
        except (TypeError, ValueError) as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from error
        # For strings that are left out TensorFlow's Python puts str, and its C++ no bytes.
        is_empty = array.dtype == np.object_ and not proto.string_val
        tensors[name] = np.full(array.shape, b"", np.object_) if is_empty else array
    return tensors


def to_proto(value: np.ndarray) -> tensor_pb2.TensorProto:
    """Return an answer's tensor as a message."""
    if value.dtype == np.object_:
        return tf.make_tensor_proto(value.tolist(), tf.string, value.shape)
    return tf.make_tensor_proto(value)


def to_ref(spec: model_pb2.ModelSpec) -> ModelRef:
    """Return which model and version a request means.

    Raises:
        ServingError: no name.
    """
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def fill_spec(spec: model_pb2.ModelSpec, lent: Lent, signature_name: str) -> None:
    """Write into the answer which version it is from."""
    spec.name = lent.name
    spec.version.value = lent.version
    spec.signature_name = signature_name


def serialized_examples(message: input_pb2.Input) -> list[bytes]:
    """Serialize a classification's or regression's examples, the shared context in each.

    Raises:
        ServingError: there are none.
    """
    kind = message.WhichOneof("kind")
    examples = list(getattr(message, kind).examples) if kind else []
    if not examples:
        raise invalid("Input is empty.")
    if kind == "example_list":
        return [example.SerializeToString() for example in examples]
    context = message.example_list_with_context.context
    return [with_context(example, context) for example in examples]


def status_message(statuses: list[VersionStatus]) -> get_model_status_pb2.GetModelStatusResponse:
    """Return the states of versions as a message."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add()
        entry.version = status.version
        entry.state = int(status.state)
        entry.status.SetInParent()
        if status.error is not None:
            entry.status.error_code = status.error.code.value[0]
            entry.status.error_message = status.error.message
    return response


def metadata_message(lent: Lent) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Return a version's signatures as a message."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    fill_spec(response.model_spec, lent, "")
    response.metadata[SIGNATURE_DEF].Pack(_definitions(lent))
    return response


def _definitions(lent: Lent) -> Any:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in lent.servable.signature_defs.items():
        definitions.signature_def[name].CopyFrom(definition)
    return definitions


def status_json(statuses: list[VersionStatus]) -> str:
    """Return the states of versions, as REST answers them."""
    return json.dumps(whole_message(status_message(statuses)), indent=2)


def metadata_json(lent: Lent) -> dict[str, Any]:
    """Return a version's signatures, as REST answers them."""
    spec = model_pb2.ModelSpec()
    fill_spec(spec, lent, "")
    return {
        "model_spec": whole_message(spec),
        "metadata": {SIGNATURE_DEF: whole_message(_definitions(lent))},
    }
