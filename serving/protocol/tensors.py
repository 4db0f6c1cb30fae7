"""Tensors of a signature: their types, and their values out of JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
from grpc import StatusCode

from serving.protocol import base64_text
from serving.protocol.json_text import kind, shown
from serving.protocol.rapid_json import members
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
    if not isinstance(value, dict) or len(members(value)) != 1:
        return False
    return isinstance(value.get(_B64), str)


def decode_base64(value: Any) -> bytes:
    """Decode `{"b64": "…"}`; padding may be left out, white space doesn't count.

    Raises:
        ServingError: it is none.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    try:
        return base64_text.decode(value[_B64])
    except base64_text.Base64Error as error:
        raise invalid(f"Unable to base64 decode: {error}") from error


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
    converter = _CONVERTERS.get(type_name) or _unknown(type_name)
    rank = len(shape)
    values: list[Any] = []
    # The lists that are open, by hand: they may be nested deeper than Python calls.
    left: list[Iterator[Any]] = [iter((value,))]
    while left:
        level = len(left) - 1
        for element in left[-1]:
            if isinstance(element, list):
                _check_list(element, level, shape)
                left.append(iter(element))
                break
            if level != rank:
                raise invalid(
                    f"JSON Value: {shown(element)} found at incorrect level: {level + 1} "
                    f"in the JSON DOM. Expected at level: {rank}"
                )
            if not isinstance(element, dict):
                values.append(converter(element))
            elif type_name == STRING:
                values.append(decode_base64(element))
            else:
                raise _type_error(element, type_name)
        else:
            left.pop()
    return values


def _check_list(value: list[Any], level: int, shape: tuple[int, ...]) -> None:
    rank = len(shape)
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )


def as_array(name: str, values: list[Any], type_name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Turn values that `flat_values` returned into an array.

    Args:
        name: of the input, for the error.
        values: one an element; what is beyond is left out, as TensorFlow does.
        type_name: of the tensor.
        shape: of the array.

    Raises:
        ServingError: it has more dimensions than arrays have.
    """
    values = values[: math.prod(shape)]
    try:
        if type_name == STRING:
            return strings(values).reshape(shape)
        # By way of a wide type: TensorFlow Serving cuts a value too large for int8, say, without
        # a word. What is too large for a float is infinite.
        dtype = NUMPY_TYPES.get(type_name)
        if dtype is None:
            _unknown(type_name)([])
        wide = np.int64 if dtype.kind == "i" or type_name == "uint8" else dtype
        with np.errstate(over="ignore"):
            return np.array(values, wide).astype(dtype).reshape(shape)
    except ValueError as error:
        raise invalid(f"tensor parsing error: {name}: it has {len(shape)} dimensions") from error


def strings(values: Sequence[bytes]) -> np.ndarray:
    """Make bytes of any length an array of objects [n]; a list of them isn't one by itself."""
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _type_error(value: Any, type_name: str) -> ServingError:
    return invalid(
        f"JSON Value: {shown(value)} Type: {kind(value)} is not of expected type: {type_name}"
    )


def _unknown(type_name: str) -> Callable[[Any], NoReturn]:
    def convert(value: Any) -> NoReturn:
        raise ServingError(
            StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {shown(value)} to type: {type_name}",
        )

    return convert


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _integer(type_name: str, low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if not _is_integer(value, low, high):
            raise _type_error(value, type_name)
        return int(value)

    return convert


def _decimal(type_name: str) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _type_error(value, type_name)
        return float(value)

    return convert


def _string(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _type_error(value, STRING)
    # What wasn't UTF-8 goes on as the bytes that came.
    return value.encode("utf-8", errors="surrogateescape")


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
