"""The body of a `:classify` or `:regress` request, as serialized tf.Examples.

tf.Example is written with the protocol buffers of tensorflow-serving-api's dependency; only
this module needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from serving.protocol.json_text import kind, parse_object, shown
from serving.protocol.predict_request import signature_of
from serving.protocol.rapid_json import members, until_nul
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import decode_base64, flat_values, is_base64

_CONTEXT: Final = "context"
_EXAMPLES: Final = "examples"
_KINDS: Final = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


@dataclass(frozen=True)
class ExamplesRequest:
    """The examples, and what is to be computed of them.

    Attributes:
        signature_name: empty for the default.
        examples: serialized; a shared context is in each.
    """

    signature_name: str
    examples: list[bytes]


def parse_examples(body: bytes) -> ExamplesRequest:
    """Read a body.

    Raises:
        ServingError: it isn't formatted as it must be.
    """
    document = parse_object(body)
    signature_name = signature_of(document)
    context = _example(document[_CONTEXT]) if _CONTEXT in document else None
    if _EXAMPLES not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key '{_EXAMPLES}' is "
            "expected and was not found"
        )
    values = document[_EXAMPLES]
    if not isinstance(values, list):
        raise invalid(
            f"JSON Value: {shown(document)} Expecting '{_EXAMPLES}' value to be an list/array"
        )
    if not values:
        raise invalid(f"JSON Value: {shown(document)} '{_EXAMPLES}' value is an empty array")
    return ExamplesRequest(signature_name, [with_context(_example(v), context) for v in values])


def with_context(example: example_pb2.Example, context: example_pb2.Example | None) -> bytes:
    """Join an example and its context, serialized; its own first, as in TensorFlow Serving."""
    if context is None:
        return bytes(example.SerializeToString())
    merged = example_pb2.Example()
    merged.CopyFrom(context)
    for name, feature in example.features.feature.items():
        merged.features.feature[name].CopyFrom(feature)
    return bytes(merged.SerializeToString())


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind(value)}")
    example = example_pb2.Example()
    for key, content in members(value):
        name = until_nul(key)
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise invalid(f"Feature name {name!a} is not UTF-8") from error
        feature = example.features.feature[name]
        # Of a name that is there twice, here the last counts.
        feature.Clear()
        feature.SetInParent()
        for element in content if isinstance(content, list) else [content]:
            _add(feature, name, element)
    return example


def _add(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    if isinstance(value, str) or is_base64(value):
        _list(feature, name, "bytes_list").append(
            decode_base64(value) if isinstance(value, dict) else flat_values(value, "string", ())[0]
        )
    elif isinstance(value, float):
        _list(feature, name, "float_list").append(_as_float32(value))
    elif isinstance(value, int):
        if value > 2**63 - 1:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        _list(feature, name, "int64_list").append(int(value))
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {kind(value)}")


def _as_float32(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _list(feature: feature_pb2.Feature, name: str, wanted: str) -> Any:
    has = feature.WhichOneof("kind")
    if has not in (None, wanted):
        raise _incompatible(name, has)
    return getattr(feature, wanted).value


def _incompatible(name: str, has: str) -> ServingError:
    return invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[has]}")
