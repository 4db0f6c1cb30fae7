"""The protocol's tensors: datatypes, and values as JSON, as bytes and as arrays."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from serving.protocol.numbers import decimal
from serving.protocol.status import invalid
from serving.protocol.tensors import (
    NUMPY_TYPES,
    STRING,
    Tensors,
    TensorSpec,
    dense_shape,
    flat_values,
    strings,
)

BYTES: Final = "BYTES"
# The protocol's name of a type -> TensorFlow's.
DATATYPES: Final[dict[str, str]] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "half",
    "FP32": "float",
    "FP64": "double",
    BYTES: STRING,
}
_NAMES: Final = {type_name: datatype for datatype, type_name in DATATYPES.items()}
_OF_NUMPY: Final = {NUMPY_TYPES[type_name]: name for type_name, name in _NAMES.items()}
# As JSON, small integers are read as larger ones, and their range is checked.
_READ_AS: Final = {"uint16": "uint32", "uint8": "int32", "int8": "int32", "int16": "int32"}
_LENGTH: Final = struct.Struct("<I")
_MOST_DIMENSIONS: Final = 32
# No request holds as many; an element has 8 bytes at most.
_MOST_ELEMENTS: Final = 1 << 48


@dataclass(frozen=True)
class Head:
    """A tensor's description in a request.

    Attributes:
        name: of the input.
        datatype: by the protocol.
        shape: of all its elements.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def check(self) -> None:
        """Check that there can be such a tensor.

        Raises:
            ServingError: its datatype isn't known, or its shape is none.
        """
        if self.datatype not in DATATYPES:
            known = ", ".join(DATATYPES)
            raise invalid(f"input {self.name}: no datatype {self.datatype!r}; there are {known}")
        # NumPy counts bytes in 64 bits, also of an array that has none for one of its sizes is 0.
        elements = math.prod(max(size, 1) for size in self.shape)
        is_none = any(size < 0 for size in self.shape) or elements > _MOST_ELEMENTS
        if len(self.shape) > _MOST_DIMENSIONS or is_none:
            raise invalid(f"input {self.name}: [{_shown(self.shape)}] is no shape of a tensor")


def datatype_of(spec: TensorSpec) -> str:
    """Return the protocol's name of a signature's type; TensorFlow's where it has none."""
    return _NAMES.get(spec.type_name, spec.type_name)


def datatype_of_array(array: np.ndarray) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        ServingError: it has none.
    """
    if array.dtype not in _OF_NUMPY:
        raise invalid(f"outputs of type {array.dtype} have no datatype in this protocol")
    return _OF_NUMPY[array.dtype]


def check_types(heads: Mapping[str, Head], specs: Mapping[str, TensorSpec]) -> None:
    """Compare a request's datatypes with a signature's; which inputs there are isn't looked at.

    Raises:
        ServingError: one differs.
    """
    for name, head in heads.items():
        wanted = datatype_of(specs[name]) if name in specs else head.datatype
        if head.datatype != wanted:
            raise invalid(f"input {name} is {head.datatype}, and the model takes {wanted}")


def from_json(head: Head, data: Any) -> np.ndarray:
    """Read `data`: nested as the shape has it, or flat.

    Raises:
        ServingError: it is no list, has other values, or another number of them.
    """
    type_name = DATATYPES[head.datatype]
    if not isinstance(data, list):
        raise invalid(f"input {head.name}: 'data' must be a list")
    if type_name == "half":
        raise invalid(f"input {head.name}: FP16 can't be sent as JSON; send it as binary data")
    shape = dense_shape(data)
    if shape not in ((head.size,), head.shape):
        raise _wrong_size(head, f"data of shape [{_shown(shape)}]")
    values = flat_values(data, _READ_AS.get(type_name, type_name), shape)
    if type_name == STRING:
        return strings(values).reshape(head.shape)
    return _as_array(head, values, NUMPY_TYPES[type_name])


def from_list(head: Head, values: Any) -> np.ndarray:
    """Read a protocol buffer's typed contents.

    Raises:
        ServingError: there are too few or too many, or one is out of the datatype's range.
    """
    if len(values) != head.size:
        raise _wrong_size(head, f"{len(values)} elements")
    if head.datatype == BYTES:
        return strings(list(values)).reshape(head.shape)
    return _as_array(head, values, NUMPY_TYPES[DATATYPES[head.datatype]])


def _as_array(head: Head, values: Any, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu" and len(values):
        bounds = np.iinfo(dtype)
        for value in (min(values), max(values)):
            if not bounds.min <= value <= bounds.max:
                raise invalid(f"input {head.name}: {value} is beyond {head.datatype}")
    with np.errstate(over="ignore"):
        return np.array(values, dtype).reshape(head.shape)


def from_bytes(head: Head, content: bytes) -> np.ndarray:
    """Read binary data: little-endian numbers, or strings behind their lengths.

    Raises:
        ServingError: there is too little or too much of it.
    """
    if head.datatype == BYTES:
        return _strings_from(head, content)
    dtype = NUMPY_TYPES[DATATYPES[head.datatype]].newbyteorder("<")
    if len(content) != head.size * dtype.itemsize:
        raise _wrong_size(head, f"{len(content)} bytes")
    native = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
    return native.reshape(head.shape)


def _strings_from(head: Head, content: bytes) -> np.ndarray:
    values = []
    at = 0
    while at < len(content):
        end = at + _LENGTH.size
        size = _LENGTH.unpack(content[at:end])[0] if end <= len(content) else -1
        if size < 0 or end + size > len(content):
            raise invalid(f"input {head.name}: its binary data ends within an element")
        values.append(content[end : end + size])
        at = end + size
    if len(values) != head.size:
        raise _wrong_size(head, f"{len(values)} elements")
    return strings(values).reshape(head.shape)


def to_bytes(array: np.ndarray) -> bytes:
    """Return an output as binary data."""
    if array.dtype == np.object_:
        return b"".join(_LENGTH.pack(len(value)) + value for value in array.ravel())
    return array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()


def to_json(array: np.ndarray) -> str:
    """Return an output's values as a flat list of JSON. No number of it is rounded."""
    return f"[{','.join(map(_element, array.ravel()))}]"


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        return json.dumps(value.decode("utf-8", errors="surrogateescape"), ensure_ascii=False)
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.integer):
        return str(int(value))
    return decimal(np.float32(value) if isinstance(value, np.float16) else value)


def _wrong_size(head: Head, found: str) -> Exception:
    return invalid(
        f"input {head.name}: {found}, and shape [{_shown(head.shape)}] of {head.datatype} takes "
        f"{head.size} elements"
    )


def _shown(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def wanted_outputs(outputs: Tensors, names: list[str]) -> Tensors:
    """Return outputs in the order in which they were asked for; all where none was named."""
    return {name: outputs[name] for name in names or sorted(outputs)}
