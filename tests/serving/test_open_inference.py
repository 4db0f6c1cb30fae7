"""The Open Inference Protocol, over HTTP and gRPC, and by a client that others wrote."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.open_inference.http_infer import InferRequest, infer_answer, parse_infer
from serving.open_inference.messages import SERVICE, message
from serving.open_inference.tensors import DATATYPES, Head, from_bytes, to_bytes
from serving.protocol.status import ServingError
from serving.protocol.tensors import NUMPY_TYPES
from tests.serving.in_thread import ThreadServer

pytestmark = pytest.mark.waits

JSON_LENGTH = "Inference-Header-Content-Length"
# A Python that has `tritonclient[http,grpc]`, which TFX's protobuf doesn't go with.
TRITON_PYTHON = os.environ.get("TRITONCLIENT_PYTHON")
NO_TRITON = "no TRITONCLIENT_PYTHON: a Python with tritonclient[http,grpc]"


def _input(name: str, datatype: str, shape: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


SUM = {
    "inputs": [_input("a", "FP32", [2], data=[1, 2.5]), _input("b", "FP32", [2], data=[10, 20])],
}


def _infer(server: ThreadServer, model: str, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{server.url}/v2/models/{model}/infer"
    return requests.post(url, data=data, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/two/ready", {"name": "two", "ready": True}),
        ("/v2/models/h2/versions/123/ready", {"name": "h2", "ready": True}),
        ("/v2/models/h2/versions/L/ready", {"name": "h2", "ready": True}),
        (
            "/v2/models/two",
            {
                "name": "two",
                "versions": ["1"],
                "platform": "tensorflow_savedmodel",
                "inputs": [_input("a", "FP32", [-1]), _input("b", "FP32", [-1])],
                "outputs": [_input("pairs", "FP32", [-1, 2]), _input("sum", "FP32", [-1])],
            },
        ),
    ],
)
def test_what_is_said_of_server_and_models(path: str, expected: Any, server: ThreadServer) -> None:
    answer = requests.get(server.url + path, timeout=10)
    assert (answer.status_code, answer.json()) == (200, expected)


def test_the_server_tells_its_name_and_what_it_can(server: ThreadServer) -> None:
    answer = requests.get(f"{server.url}/v2", timeout=10).json()
    assert answer["name"] == "cxr-tfx"
    assert answer["extensions"] == ["binary_tensor_data"]
    assert answer["version"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/none", 404, "Latest(none)"),
        ("GET", "/v2/models/none/ready", 404, "any versions of model none"),
        ("GET", "/v2/models/h2/versions/9/ready", 404, "version 9 of model h2"),
        ("POST", "/v2/models/none/infer", 404, "Latest(none)"),
        ("POST", "/v2/models/h2/versions/none/infer", 400, "label: none"),
        ("GET", "/v2/models/h2/infer", 400, "takes POST, and not GET"),
        ("POST", "/v2/models/h2", 400, "takes GET, and not POST"),
        ("GET", "/v2/nothing", 404, "Nothing is served at /v2/nothing"),
    ],
)
def test_what_is_not_there(
    method: str, path: str, status: int, said: str, server: ThreadServer
) -> None:
    body = json.dumps(SUM)
    answer = requests.request(method, server.url + path, data=body, timeout=10)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert said in answer.json()["error"]


def test_an_inference_in_json(server: ThreadServer) -> None:
    answer = _infer(server, "two", {"id": "seven", **SUM})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "id": "seven",
        "model_name": "two",
        "model_version": "1",
        "outputs": [
            _input("pairs", "FP32", [2, 2], data=[1.0, 10.0, 2.5, 20.0]),
            _input("sum", "FP32", [2], data=[11.0, 22.5]),
        ],
    }
    named = _infer(server, "two/versions/1", {**SUM, "outputs": [{"name": "sum"}]}).json()
    assert "id" not in named
    assert [output["name"] for output in named["outputs"]] == ["sum"]


def test_data_may_be_nested_or_flat(server: ThreadServer) -> None:
    for data in ([[1, 2], [3, 4]], [1, 2, 3, 4]):
        body = {"inputs": [_input("x", "FP32", [2, 2], data=data)]}
        assert _infer(server, "h2", body).json()["outputs"][0]["data"] == [2.5, 3.0, 3.5, 4.0]


def test_an_inference_with_binary_data(server: ThreadServer) -> None:
    first, second = struct.pack("<2f", 1, 2.5), struct.pack("<2f", 10, 20)
    described = json.dumps(
        {
            "inputs": [
                _input("a", "FP32", [2], parameters={"binary_data_size": len(first)}),
                _input("b", "FP32", [2], parameters={"binary_data_size": len(second)}),
            ],
            "outputs": [
                {"name": "sum", "parameters": {"binary_data": True}},
                {"name": "pairs", "parameters": {"binary_data": False}},
            ],
        }
    ).encode()
    headers = {JSON_LENGTH: str(len(described))}
    answer = _infer(server, "two", described + first + second, **headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    end = int(answer.headers[JSON_LENGTH])
    total, pairs = json.loads(answer.content[:end])["outputs"]
    assert total == _input("sum", "FP32", [2], parameters={"binary_data_size": 8})
    assert pairs["data"] == [1.0, 10.0, 2.5, 20.0]
    assert struct.unpack("<2f", answer.content[end:]) == (11.0, 22.5)


@pytest.mark.parametrize(
    ("datatype", "signature", "data"),
    [
        ("BOOL", "bool", [True, False]),
        ("UINT8", "uint8", [0, 255]),
        ("UINT16", "uint16", [0, 65535]),
        ("UINT32", "uint32", [0, 2**32 - 1]),
        ("UINT64", "uint64", [0, 2**64 - 1]),
        ("INT8", "int8", [-128, 127]),
        ("INT16", "int16", [-32768, 32767]),
        ("INT32", "int32", [-(2**31), 2**31 - 1]),
        ("INT64", "int64", [-(2**63), 2**63 - 1]),
        ("FP32", "float32", [0.1, -1e30]),
        ("FP64", "float64", [0.1, -1e300]),
        ("BYTES", "string", ["a", "é"]),
    ],
)
def test_each_datatype_comes_and_goes(
    datatype: str, signature: str, data: list[Any], server: ThreadServer
) -> None:
    body = {
        "parameters": {"signature_name": signature},
        "inputs": [_input("x", datatype, [2], data=data)],
    }
    (output,) = _infer(server, "types", body).json()["outputs"]
    assert (output["datatype"], output["data"]) == (datatype, data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": None}, "'inputs' must be a list of objects"),
        ({"inputs": []}, "'inputs' is missing, or empty"),
        ({"inputs": [{"shape": [1]}]}, "an input has no 'name'"),
        ({"inputs": [_input("a", "FP33", [1], data=[1])]}, "no datatype 'FP33'; there are BOOL"),
        ({"inputs": [_input("a", "FP32", [-1], data=[1])]}, "[-1] is no shape"),
        ({"inputs": [_input("a", "BYTES", [1 << 40, 1 << 40, 0], data=[])]}, ",0] is no shape"),
        ({"inputs": [_input("a", "BYTES", [0, 1 << 30, 1 << 30], data=[])]}, "] is no shape"),
        ({"inputs": [_input("a", "FP32", ["1"], data=[1])]}, "'shape' must be a list of integers"),
        ({"inputs": [_input("a", "FP32", [2], data=[1])]}, "shape [2] of FP32 takes 2 elements"),
        ({"inputs": [_input("a", "FP32", [1])]}, "'data' must be a list"),
        ({"inputs": [_input("a", "FP32", [1], data=["1"])]}, "not of expected type: float"),
        ({"inputs": [_input("a", "FP64", [1], data=[1])]}, "a is FP64, and the model takes FP32"),
        ({"inputs": [_input("a", "FP16", [1], data=[1])]}, "send it as binary data"),
        ({"inputs": [_input("a", "INT8", [1], data=[128])]}, "128 is beyond INT8"),
        ({"inputs": SUM["inputs"][:1]}, "Missing but required: {b}"),
        ({"inputs": SUM["inputs"] * 2}, "input a is there twice"),
        ({"outputs": [{"name": "none"}]}, "alias not found in signature: none"),
        ({"outputs": {}}, "'outputs' must be a list of objects"),
        ({"id": 7}, "'id' must be a string"),
        ({"parameters": {"signature_name": "zz"}}, '"zz" not found'),
        ({"parameters": {"binary_data_output": 1}}, "must be true or false"),
        (
            {"inputs": [_input("a", "FP32", [1], parameters={"binary_data_size": 4})]},
            "0 bytes are left behind the JSON",
        ),
    ],
)
def test_wrong_requests_are_told(change: dict[str, Any], said: str, server: ThreadServer) -> None:
    answer = _infer(server, "two", {**SUM, **change})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "\u0661"])
def test_a_wrong_length_of_the_json_is_told(length: str) -> None:
    with pytest.raises(ServingError, match=JSON_LENGTH):
        parse_infer(json.dumps(SUM).encode(), length)


def test_bytes_that_no_input_claims_are_told() -> None:
    body = json.dumps(SUM).encode()
    with pytest.raises(ServingError, match="3 bytes stand behind"):
        parse_infer(body + b"abc", str(len(body)))


@given(st.data())
def test_binary_data_come_back(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(sorted(DATATYPES)))
    shape = data.draw(arrays.array_shapes(min_dims=0, min_side=0, max_dims=3))
    if datatype == "BYTES":
        values = data.draw(st.lists(st.binary(), min_size=int(np.prod(shape)), max_size=100))
        array = np.empty(int(np.prod(shape)), np.object_)
        array[:] = values[: len(array)]
        array = array.reshape(shape)
    else:
        array = data.draw(arrays.arrays(NUMPY_TYPES[DATATYPES[datatype]], shape))
    head = Head("x", datatype, tuple(array.shape))
    content = to_bytes(array)
    read = from_bytes(head, content)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    request = InferRequest(None, "", {}, {}, {}, binary=True)
    body, length = infer_answer(request, "m", 1, {"x": array})
    assert body[length:] == content
    if array.size:
        with pytest.raises(ServingError):
            from_bytes(head, content[:-1])


@given(st.binary(max_size=100), st.none() | st.integers(0, 100).map(str))
def test_no_body_breaks_the_reader(body: bytes, length: str | None) -> None:
    try:
        parse_infer(body, length)
    except ServingError as error:
        assert error.http_status == 400


def _call(server: ThreadServer, method: str, request: Any) -> Any:
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message(f"{method}Response").FromString,
        )
        return ask(request, timeout=30)


def test_by_grpc_typed_contents_and_raw_ones(server: ThreadServer) -> None:
    request = message("ModelInferRequest")(model_name="two", id="seven")
    for name, value in (("a", 1.0), ("b", 10.0)):
        tensor = request.inputs.add(name=name, datatype="FP32", shape=[1])
        tensor.contents.fp32_contents.append(value)
    answer = _call(server, "ModelInfer", request)
    assert (answer.id, answer.model_version) == ("seven", "1")
    assert list(answer.outputs[1].contents.fp32_contents) == [11.0]
    assert not answer.raw_output_contents
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend([struct.pack("<f", 1), struct.pack("<f", 10)])
    request.outputs.add(name="sum")
    answer = _call(server, "ModelInfer", request)
    assert list(answer.raw_output_contents) == [struct.pack("<f", 11)]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"model_name": "no"}, "NOT_FOUND", "Latest(no)"),
        ({"model_name": ""}, "INVALID_ARGUMENT", "no name"),
        ({"model_version": "9"}, "NOT_FOUND", "Specific(text, 9)"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "has 2 entries for 1 inputs"),
        ({"raw_input_contents": [b"\x09\0\0\0a"]}, "INVALID_ARGUMENT", "ends within an element"),
        ({"inputs": []}, "INVALID_ARGUMENT", "'inputs' is missing"),
    ],
)
def test_by_grpc_wrong_requests_are_told(
    change: dict[str, Any], code: str, said: str, server: ThreadServer
) -> None:
    tensor = message("ModelInferRequest.InferInputTensor")(name="text", datatype="BYTES", shape=[1])
    if "raw_input_contents" not in change:
        tensor.contents.bytes_contents.append(b"a")
    fields = {"model_name": "text", "inputs": [tensor], **change}
    with pytest.raises(grpc.RpcError) as failed:
        _call(server, "ModelInfer", message("ModelInferRequest")(**fields))
    assert failed.value.code().name == code
    assert said in (failed.value.details() or "")


def test_by_grpc_what_is_said_of_server_and_models(server: ThreadServer) -> None:
    assert _call(server, "ServerLive", message("ServerLiveRequest")()).live
    assert _call(server, "ServerReady", message("ServerReadyRequest")()).ready
    assert _call(server, "ServerMetadata", message("ServerMetadataRequest")()).name == "cxr-tfx"
    assert _call(server, "ModelReady", message("ModelReadyRequest")(name="two")).ready
    facts = _call(server, "ModelMetadata", message("ModelMetadataRequest")(name="text"))
    assert [(t.name, t.datatype, list(t.shape)) for t in facts.inputs] == [("text", "BYTES", [-1])]


@pytest.mark.skipif(TRITON_PYTHON is None, reason=NO_TRITON)
def test_tritons_client_is_answered(server: ThreadServer) -> None:
    script = Path(__file__).with_name("triton_client.py")
    address = server.url.removeprefix("http://")
    done = subprocess.run(
        [str(TRITON_PYTHON), str(script), address, server.grpc],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"http, binary", "http, JSON", "grpc"}
    for answers in found.values():
        assert all(answers[key] for key in ("live", "ready", "model", "version"))
        assert not answers["none"]
        assert answers["server"] == "cxr-tfx"
        assert [t["name"] for t in answers["metadata"]["inputs"]] == ["a", "b"]
        expected = np.array([11, 22.5, 1e30], np.float32)
        np.testing.assert_array_equal(np.array(answers["sum"], np.float32), expected)
        assert (answers["pairs"], answers["id"]) == ([3, 2], "seven")
        assert answers["one"] == answers["sum"]
        assert answers["other"]
        assert answers["text"]
        assert answers["half"] == "float16"
        assert "Latest(no)" in answers["error"]
