"""Named tensors as Protocol Buffers put them on the wire, without the classes that parse them.

Of a record of the prediction log the classes took most of the time: the entry of a map of tensors
takes 10 µs to fill and to serialise (protobuf 4, C++), and 1 µs so. What is the same in all tensors
of one type and shape is serialised by the library, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

# https://protobuf.dev/programming-guides/encoding: a field begins with its number and its wire
# type; of a message or of bytes, their length follows.
_LENGTH_DELIMITED: Final = 2
_NUMBERS: Final = {
    name: field.number for name, field in tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name.items()
}
_KEY: Final = 1
_VALUE: Final = 2
_KINDS: Final = 256


def delimited(number: int, content: bytes) -> bytes:
    """Return a field of a message, whose content is a message, a text or bytes.

    Args:
        number: of the field, from 1 on.
        content: as it is on the wire.
    """
    tag = _TAGS[number] if number < len(_TAGS) else _varint(number << 3 | _LENGTH_DELIMITED)
    size = len(content)
    return tag + (_SHORT[size] if size < len(_SHORT) else _varint(size)) + content


def tensor_bytes(value: np.ndarray) -> bytes:
    """Return an array as a serialised TensorProto.

    Args:
        value: numbers or truth values; or bytes, as objects.
    """
    begin = _dtype_and_shape(value.dtype, value.shape)
    if value.dtype == np.object_:
        number = _NUMBERS["string_val"]
        return begin + b"".join([delimited(number, text) for text in value.ravel().tolist()])
    return begin + delimited(_NUMBERS["tensor_content"], value.tobytes())


def map_bytes(number: int, tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return a field `map<string, TensorProto>` of a message.

    Args:
        number: of the field.
        tensors: key -> array, as `tensor_bytes` takes it.
    """
    return b"".join(
        [
            delimited(number, _key(name) + delimited(_VALUE, tensor_bytes(value)))
            for name, value in tensors.items()
        ]
    )


@lru_cache(_KINDS)
def _dtype_and_shape(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    proto = tensor_pb2.TensorProto()
    of_tensor = tf.string if dtype == np.object_ else tf.as_dtype(dtype)
    proto.dtype = of_tensor.as_datatype_enum
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return bytes(proto.SerializeToString())


@lru_cache(_KINDS)
def _key(name: str) -> bytes:
    return delimited(_KEY, name.encode())


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= len(_SHORT):
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


# Those of nearly all lengths and fields, looked up.
_SHORT: Final = [bytes([number]) for number in range(1 << 7)]
_TAGS: Final = [bytes([number << 3 | _LENGTH_DELIMITED]) for number in range(1 << 4)]
