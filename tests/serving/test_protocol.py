"""JSON in and out, number by number."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.examples_request import parse_examples
from serving.protocol.json_text import parse_object
from serving.protocol.numbers import decimal
from serving.protocol.paths import ModelRef, PredictionTarget, StatusTarget, parse_path
from serving.protocol.predict_request import parse_predict
from serving.protocol.responses import error_json, predict_json
from serving.protocol.status import ServingError
from serving.protocol.tensors import NUMPY_TYPES, Tensors, TensorSpec


def _parse(body: Any, **types: str) -> Tensors:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_predict(data, lambda _: {k: TensorSpec(v) for k, v in types.items()}).inputs


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (12.0, "12.0"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (1 / 3, "0.333333343"),
        (16777216.0, "16777216.0"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_floats_print_as_tensorflow_serving_prints_them(value: float, text: str) -> None:
    assert decimal(np.float32(value)) == text


def test_doubles_have_their_own_digits() -> None:
    assert decimal(np.float64(1 / 3)) == "0.33333333333333331"


@given(st.floats(width=32))
def test_a_float_reads_back_the_same(value: float) -> None:
    number = np.float32(value)
    read = np.float32(json.loads(decimal(number)))
    assert read.tobytes() == number.tobytes() or (np.isnan(read) and np.isnan(number))


@given(
    st.sampled_from(["float", "double", "int32", "int64", "uint8", "uint32", "bool"]),
    st.lists(st.integers(1, 3), max_size=3),
    st.data(),
)
def test_what_is_printed_is_read_back(type_name: str, shape: list[int], data: Any) -> None:
    dtype = NUMPY_TYPES[type_name]
    size = int(np.prod(shape, dtype=int)) * 2
    bits = data.draw(st.binary(min_size=8 * size, max_size=8 * size))
    if dtype.kind == "f":
        array = np.frombuffer(bits, dtype)[:size]
        array = array[np.isfinite(array)]
        array = np.resize(array, size) if len(array) else np.zeros(size, dtype)
    elif dtype.kind == "b":
        array = np.frombuffer(bits, np.uint8)[:size] > 127
    else:
        array = np.frombuffer(bits, dtype)[:size]
    array = array.reshape([2, *shape])
    for form, key, wanted in (
        ("row", "instances", "predictions"),
        ("columnar", "inputs", "outputs"),
    ):
        printed = json.loads(predict_json({"y": array}, form))  # type: ignore[arg-type]
        body = json.dumps({key: printed[wanted]}).encode()
        read = _parse(body, x=type_name)["x"]
        assert read.dtype == dtype
        # RapidJSON's doubles may be off in their last digit (no `kParseFullPrecisionFlag`).
        np.testing.assert_allclose(read, array, rtol=1e-14 if dtype == np.float64 else 0)


@given(st.lists(st.binary(), min_size=1, max_size=4))
def test_bytes_come_back_through_base64(values: list[bytes]) -> None:
    array = np.empty(len(values), np.object_)
    array[:] = values
    printed = json.loads(predict_json({"image_bytes": array}, "row"))["predictions"]
    assert _parse({"instances": printed}, x="string")["x"].tolist() == values


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1))
def test_text_comes_back(values: list[str]) -> None:
    array = np.empty(len(values), np.object_)
    array[:] = [value.encode() for value in values]
    printed = json.loads(predict_json({"text": array}, "row"))["predictions"]
    assert printed == values
    assert _parse({"instances": values}, x="string")["x"].tolist() == array.tolist()


@given(st.binary(max_size=200))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    try:
        parse_object(body)
    except ServingError as error:
        assert error.http_status == 400


def test_of_a_name_given_twice_the_first_counts() -> None:
    assert parse_object(b'{"a": 1, "b": 2, "a": 3}') == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("body", "type_name", "said"),
    [
        ({"instances": [True]}, "float", "Type: True is not of expected type: float"),
        ({"instances": [1.5]}, "int32", "Type: Number is not of expected type: int32"),
        ({"instances": [2**31]}, "int32", "is not of expected type: int32"),
        ({"instances": [-1]}, "uint32", "is not of expected type: uint32"),
        ({"instances": [True]}, "int32", "Type: True is not of expected type: int32"),
        ({"instances": [1]}, "bool", "Type: Number is not of expected type: bool"),
        ({"instances": [2**63]}, "int64", "Type: Number is not of expected type: int64"),
        ({"instances": [2**64]}, "uint64", "18446744073709552000.0 Type: Number is not"),
        ({"instances": [1.0]}, "half", "Conversion of JSON Value: 1.0 to type: half"),
        ({"instances": {"a": 1}}, "float", "Expecting 'instances' to be an list/array"),
        ({"instances": [None]}, "string", "Type: Null is not of expected type: string"),
        ({"instances": [{"b64": 1}]}, "string", "does not have named input: b64"),
        ({"instances": [[1], 2]}, "float", "Expecting shape [1] but got: []"),
        ({"instances": [[[1], 2]]}, "float", "found at incorrect level"),
        ({"instances": [[1, [2]]]}, "float", "Encountered list at unexpected level: 1"),
        ({"instances": [[[1], [2, 3]]]}, "float", "Encountered list at unexpected size: 2"),
        ({"instances": 5}, "float", "Expecting 'instances' to be an list/array"),
        ({"instances": None}, "float", "Expecting 'instances' to be an list/array"),
        ({"instances": [1.0]}, "resource", "to type: resource"),
        ({"instances": [{"x": 1}, 2]}, "float", "Expecting object but got list at item 1"),
        ({"instances": [1, {"x": 2}]}, "float", "Expecting value/list but got object at item 1"),
        ({"inputs": {"y": 2}}, "float", "Missing named input: x"),
    ],
)
def test_wrong_values_are_told(body: Any, type_name: str, said: str) -> None:
    with pytest.raises(ServingError) as refused:
        _parse(body, x=type_name)
    assert said in refused.value.message


def test_not_a_number_is_one() -> None:
    values = _parse(b'{"instances": [NaN, Infinity, -Infinity]}', x="float")["x"]
    np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf])


def test_base64_may_lack_its_padding() -> None:
    body = {"inputs": {"b64": base64.b64encode(b"hello").decode().rstrip("=")}}
    value = _parse(body, x="string")["x"]
    assert value.shape == ()
    assert value.item() == b"hello"


def test_rows_of_named_inputs() -> None:
    body = {"instances": [{"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": "y"}]}
    inputs = _parse(body, a="int64", b="string")
    assert inputs["a"].tolist() == [[1, 2], [3, 4]]
    assert inputs["b"].tolist() == [b"x", b"y"]


def test_an_error_does_not_repeat_all_that_was_sent() -> None:
    with pytest.raises(ServingError) as refused:
        _parse({"instances": [{"b": "x" * 100_000}]}, x="float")
    assert len(refused.value.message) < 5000


def test_examples_have_the_kinds_of_their_values() -> None:
    from tensorflow.core.example import example_pb2

    body = {
        "context": {"shared": 1, "mine": [1]},
        "examples": [{"f": 1.5, "i": [1, True], "s": "a", "b": {"b64": "aGVsbG8="}, "mine": [2]}],
    }
    (serialized,) = parse_examples(json.dumps(body).encode()).examples
    features = example_pb2.Example.FromString(serialized).features.feature
    assert list(features["f"].float_list.value) == [1.5]
    assert list(features["i"].int64_list.value) == [1, 1]
    assert list(features["s"].bytes_list.value) == [b"a"]
    assert list(features["b"].bytes_list.value) == [b"hello"]
    assert list(features["shared"].int64_list.value) == [1]
    assert list(features["mine"].int64_list.value) == [2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "key 'examples' is expected"),
        ({"examples": {}}, "to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1]]}]}, "unexpected JSON type: Array"),
        ({"examples": [{"x": [1, "a"]}]}, "Unexpected element type in feature: x"),
        ({"examples": [{"x": 2**63}]}, "has uint64_t element. Only int64_t is supported."),
    ],
)
def test_wrong_examples_are_told(body: Any, said: str) -> None:
    with pytest.raises(ServingError) as refused:
        parse_examples(json.dumps(body).encode())
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/models/m:predict", PredictionTarget(ModelRef("m"), "predict")),
        (
            "POST",
            "/V1/Models/M/Versions/7:classify",
            PredictionTarget(ModelRef("M", 7), "classify"),
        ),
        (
            "POST",
            "/v1/models/m/labels/a%20b:regress",
            PredictionTarget(ModelRef("m", label="a b"), "regress"),
        ),
        ("GET", "/v1/models/m%2Fn", StatusTarget(ModelRef("m/n"), metadata=False)),
        ("GET", "/v1/models/m/versions/1/metadata", StatusTarget(ModelRef("m", 1), metadata=True)),
    ],
)
def test_paths(method: str, path: str, expected: Any) -> None:
    assert parse_path(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/m:predict"),
        ("PUT", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/\u0661:predict"),
        ("GET", "/v1/models/../m"),
        ("GET", "/v1/models/m/versions/1/labels/a"),
    ],
)
def test_other_paths_are_malformed(method: str, path: str) -> None:
    with pytest.raises(ServingError, match="Malformed request"):
        parse_path(method, path)


def test_a_version_beyond_int64_is_told() -> None:
    with pytest.raises(ServingError, match="Failed to convert version"):
        parse_path("GET", f"/v1/models/m/versions/{2**63}")


def test_an_error_is_json_whatever_is_in_it() -> None:
    assert json.loads(error_json('a "quoted"\nline')) == {"error": 'a "quoted"\nline'}


@pytest.mark.parametrize("shape", [[2], [0], []])
def test_strings_that_are_left_out_are_empty(shape: list[int]) -> None:
    from tensorflow.core.framework import tensor_pb2, types_pb2

    from serving.server.messages import to_tensors

    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, int_val=[7])
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    found = to_tensors({"x": proto})["x"]
    assert found.shape == tuple(shape)
    assert found.dtype == np.object_ and found.ravel().tolist() == [b""] * found.size
    proto.string_val.extend([b"a"] * found.size)
    assert to_tensors({"x": proto})["x"].ravel().tolist() == [b"a"] * found.size
