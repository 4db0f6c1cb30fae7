"""The body of an `infer` request over HTTP, and of its answer, with the binary extension.

With the extension, tensors stand behind the JSON, one after the other; a header says where the
JSON ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.open_inference.tensors import (
    Head,
    datatype_of_array,
    from_bytes,
    from_json,
    to_bytes,
    to_json,
    wanted_outputs,
)
from serving.protocol.json_text import parse_object
from serving.protocol.status import invalid
from serving.protocol.tensors import Tensors

JSON_LENGTH: Final = "Inference-Header-Content-Length"
SIGNATURE: Final = "signature_name"
_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_BINARY_OUTPUT: Final = "binary_data_output"


@dataclass(frozen=True)
class InferRequest:
    """A request.

    Attributes:
        id: to be repeated in the answer; None without one.
        signature_name: of the parameters; empty for the default.
        heads: what is said of each input.
        inputs: their values.
        outputs: name -> whether it is to come as binary data; empty where none is named.
        binary: whether those that aren't named are to.
    """

    id: str | None
    signature_name: str
    heads: Mapping[str, Head]
    inputs: Tensors
    outputs: Mapping[str, bool]
    binary: bool


def parse_infer(body: bytes, json_length: str | None) -> InferRequest:
    """Read a body.

    Args:
        body: of the request.
        json_length: the header's value; None without the header: then all of it is JSON.

    Raises:
        ServingError: it isn't formatted as the protocol demands.
    """
    length = _length(body, json_length)
    document = parse_object(body[:length])
    parameters = _parameters(document, "the request")
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise invalid("'id' must be a string")
    signature = parameters.get(SIGNATURE, "")
    if not isinstance(signature, str):
        raise invalid(f"the parameter '{SIGNATURE}' must be a string")
    binary = _flag(parameters, _BINARY_OUTPUT)
    heads: dict[str, Head] = {}
    inputs: Tensors = {}
    at = length
    for tensor in _objects(document, "inputs", required=True):
        head, value, size = _input(tensor, body, at)
        if head.name in heads:
            raise invalid(f"input {head.name} is there twice")
        heads[head.name], inputs[head.name] = head, value
        at += size
    if at != len(body):
        raise invalid(f"{len(body) - at} bytes stand behind the last input's binary data")
    outputs = {}
    for wanted in _objects(document, "outputs"):
        outputs[_name(wanted, "output")] = _flag(_parameters(wanted, "an output"), _BINARY, binary)
    return InferRequest(identifier, signature, heads, inputs, outputs, binary)


def _length(body: bytes, header: str | None) -> int:
    if header is None:
        return len(body)
    if not header.isascii() or not header.isdecimal() or int(header) > len(body):
        raise invalid(f"{JSON_LENGTH} is {header[:20]!r}, and the body has {len(body)} bytes")
    return int(header)


def _objects(document: dict[str, Any], key: str, *, required: bool = False) -> list[dict[str, Any]]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise invalid(f"'{key}' must be a list of objects")
    if required and not value:
        raise invalid(f"'{key}' is missing, or empty")
    return value


def _parameters(value: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = value.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid(f"'parameters' of {what} must be an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"the parameter '{name}' must be true or false")
    return value


def _name(value: dict[str, Any], what: str) -> str:
    name = value.get("name")
    if not isinstance(name, str):
        raise invalid(f"an {what} has no 'name'")
    return name


def _input(tensor: dict[str, Any], body: bytes, at: int) -> tuple[Head, Any, int]:
    name = _name(tensor, "input")
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise invalid(f"input {name}: 'shape' must be a list of integers")
    head = Head(name, datatype if isinstance(datatype, str) else str(datatype), tuple(shape))
    head.check()
    size = _parameters(tensor, f"input {name}").get(_SIZE)
    if size is None:
        return head, from_json(head, tensor.get("data")), 0
    if type(size) is not int or size < 0 or at + size > len(body):
        raise invalid(
            f"input {name}: '{_SIZE}' is {size}, and {len(body) - at} bytes are left behind the "
            f"JSON, which ends where the header {JSON_LENGTH} says"
        )
    if "data" in tensor:
        raise invalid(f"input {name} has both 'data' and '{_SIZE}'")
    return head, from_bytes(head, body[at : at + size]), size


def infer_answer(
    request: InferRequest, model: str, version: int, outputs: Tensors
) -> tuple[bytes, int | None]:
    """Write an answer.

    Args:
        request: that it is to.
        model: name.
        version: that answered.
        outputs: of the signature.

    Returns:
        The body, and where its JSON ends; None where it is nothing else.
    """
    described, binary = [], []
    for name, array in wanted_outputs(outputs, list(request.outputs)).items():
        head = (
            f'"name":{json.dumps(name)},"datatype":"{datatype_of_array(array)}",'
            f'"shape":{json.dumps(list(array.shape))}'
        )
        if request.outputs.get(name, request.binary):
            binary.append(to_bytes(array))
            described.append(f'{{{head},"parameters":{{"{_SIZE}":{len(binary[-1])}}}}}')
        else:
            described.append(f'{{{head},"data":{to_json(array)}}}')
    identifier = "" if request.id is None else f'"id":{json.dumps(request.id)},'
    text = (
        f'{{{identifier}"model_name":{json.dumps(model)},"model_version":"{version}",'
        f'"outputs":[{",".join(described)}]}}'
    ).encode("utf-8", errors="surrogateescape")
    return b"".join([text, *binary]), len(text) if binary else None
