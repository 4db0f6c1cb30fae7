"""Tensors on the wire: what is written without the library's classes is what the library reads."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis import predict_pb2

from serving.protocol.tensor_bytes import map_bytes, tensor_bytes
from serving.protocol.tensors import strings

_OUTPUTS = predict_pb2.PredictResponse.OUTPUTS_FIELD_NUMBER
_DTYPES = (np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_)
_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40)
_NUMBERS = st.sampled_from(_DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, _SHAPES))
# Lengths of one, two and three bytes.
_TEXTS = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(lambda size: b"x" * size))
).map(strings)


def _enum(dtype: np.dtype) -> int:
    return int((tf.string if dtype == np.object_ else tf.as_dtype(dtype)).as_datatype_enum)


@given(st.dictionaries(st.text(max_size=200), st.one_of(_NUMBERS, _TEXTS), max_size=5))
def test_any_tensors_are_what_the_library_would_have_written(
    tensors: dict[str, np.ndarray],
) -> None:
    written = predict_pb2.PredictResponse.FromString(map_bytes(_OUTPUTS, tensors))
    wanted = predict_pb2.PredictResponse()
    for name, value in tensors.items():
        proto = wanted.outputs[name]
        proto.dtype = _enum(value.dtype)
        proto.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        if value.dtype == np.object_:
            proto.string_val.extend(value)
        else:
            proto.tensor_content = value.tobytes()
    assert written == wanted


def test_an_array_that_does_not_lie_in_order_is_written_in_order() -> None:
    value = np.arange(12, dtype=np.int64).reshape(3, 4).T[::2]

    proto = tf.make_tensor_proto(0).FromString(tensor_bytes(value))

    np.testing.assert_array_equal(tf.make_ndarray(proto), value)


def test_a_type_that_tensorflow_lacks_is_refused() -> None:
    with pytest.raises(TypeError):
        tensor_bytes(np.zeros(2, "datetime64[s]"))
