"""Tensors of a signature: their types, and their values out of JSON."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from grpc import StatusCode

from serving.protocol.json_text import kind, shown
from serving.protocol.status import ServingError, invalid

STRING: Final = "string"
_B64: Final = "b64"
# TensorFlow's name of a type -> NumPy's. Strings are objects: bytes of any length.
NUMPY_TYPES: Final[dict[str, np.dtype]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "half": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    STRING: np.dtype(np.object_),
}
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class TensorSpec:
    """The description of one tensor of a signature.

    Attributes:
        type_name: TensorFlow's name of the type, such as `float` or `string`.
        shape: -1 for a dimension of any size; None where the rank is unknown, too.
        default: of an input that may be left out, a row's value; None of one that may not.
    """

    type_name: str
    shape: tuple[int, ...] | None = None
    default: Any = field(default=None, compare=False)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether a value of that shape may be fed."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (-1, size) for wanted, size in zip(self.shape, shape, strict=True)
        )


def is_base64(value: Any) -> bool:
    """Return whether a value is `{"b64": "…"}` and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def decode_base64(value: Any) -> bytes:
    """Decode `{"b64": "…"}`; padding may be left out, white space doesn't count.

    Raises:
        ServingError: it is none.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value[_B64].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def dense_shape(value: Any) -> tuple[int, ...]:
    """Find the shape of nested lists, going by the first element of each; () of anything else."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def flat_values(value: Any, type_name: str, shape: tuple[int, ...]) -> list[Any]:
    """List the values of nested lists, in order.

    Args:
        value: out of JSON.
        type_name: of the tensor.
        shape: that the lists must have.

    Raises:
        ServingError: a value isn't of that type, or a list of that size.
    """
    converter = _CONVERTERS.get(type_name)
    if converter is None:
        raise ServingError(
            StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {shown(value)} to type: {type_name}",
        )
    values: list[Any] = []
    _collect(value, 0, shape, type_name, converter, values)
    return values


def _collect(
    value: Any,
    level: int,
    shape: tuple[int, ...],
    type_name: str,
    converter: Callable[[Any], Any],
    values: list[Any],
) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {rank}"
            )
        if isinstance(value, dict):
            if type_name != STRING:
                raise _type_error(value, type_name)
            values.append(decode_base64(value))
        else:
            values.append(converter(value))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for element in value:
        _collect(element, level + 1, shape, type_name, converter, values)


def as_array(values: list[Any], type_name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Turn values that `flat_values` returned into an array."""
    if type_name == STRING:
        return strings(values).reshape(shape)
    # By way of a wide type: TensorFlow Serving cuts a value too large for int8, say, without
    # a word.
    dtype = NUMPY_TYPES[type_name]
    wide = np.int64 if dtype.kind == "i" or type_name == "uint8" else dtype
    return np.array(values, wide).astype(dtype).reshape(shape)


def strings(values: Sequence[bytes]) -> np.ndarray:
    """Make bytes of any length an array of objects [n]; a list of them isn't one by itself."""
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _type_error(value: Any, type_name: str) -> ServingError:
    return invalid(
        f"JSON Value: {shown(value)} Type: {kind(value)} is not of expected type: {type_name}"
    )


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _integer(type_name: str, low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if not _is_integer(value, low, high):
            raise _type_error(value, type_name)
        return int(value)

    return convert


def _decimal(type_name: str) -> Callable[[Any], float]:
    dtype = NUMPY_TYPES[type_name]
    # The largest integer below which a number of this type skips none.
    exact = 2 ** (np.finfo(dtype).nmant + 1) - 1
    largest = float(np.finfo(dtype).max)

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _type_error(value, type_name)
        integer = _is_integer(value, -(2**63), 2**64 - 1)
        number = _as_float(value)
        lossless = abs(value) <= exact if integer else abs(number) <= largest
        if math.isfinite(number) and not lossless:
            raise invalid(
                f"Cannot convert JSON value: {shown(value)} to {type_name} "
                "without loss of precision."
            )
        return number

    return convert


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise invalid("JSON Parse error: Number too big to be stored in double.") from error


def _string(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _type_error(value, STRING)
    # What wasn't UTF-8, or half of a surrogate pair, goes on as the bytes that came.
    try:
        return value.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", errors="surrogatepass")


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _type_error(value, "bool")
    return value


_INT32: Final = (-(2**31), 2**31 - 1)
_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "float": _decimal("float"),
    "double": _decimal("double"),
    **{name: _integer(name, *_INT32) for name in ("int32", "int16", "int8", "uint8")},
    "int64": _integer("int64", -(2**63), 2**63 - 1),
    "uint32": _integer("uint32", 0, 2**32 - 1),
    "uint64": _integer("uint64", 0, 2**64 - 1),
    STRING: _string,
    "bool": _bool,
}
