"""The embedded server against TensorFlow Serving's contract, over REST and gRPC."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.conformance.cases import CASES, Case, try_case
from serving.conformance.source_cases import SOURCE_CASES
from serving.process import Server
from tests.serving.in_thread import until

pytestmark = pytest.mark.waits


@pytest.mark.parametrize("case", [*CASES, *SOURCE_CASES], ids=lambda case: case.number)
def test_rest(case: Case, server_process: Server) -> None:
    outcome = try_case(case, server_process.url)
    assert outcome.passed, outcome.got


def test_every_case_of_the_contract_is_there() -> None:
    numbers = {part.rstrip("abc") for case in CASES for part in case.number.split(", ")}
    # 33 to 35 need a server of their own: test_reload.py, test_metrics below.
    assert numbers == {str(number) for number in range(1, 33)}


def test_metrics(server_process: Server) -> None:
    requests.get(f"{server_process.url}/v1/models/h2", timeout=10)
    response = requests.get(f"{server_process.url}/monitoring/prometheus/metrics", timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    labels = 'api="rest",method="status",model="h2",status="OK"'
    assert f"cxr_serving_requests_total{{{labels}}}" in response.text
    assert 'cxr_serving_model_available{model="h2",version="123"} 1.0' in response.text


def test_an_unknown_name_gets_no_time_series(server_process: Server) -> None:
    requests.get(f"{server_process.url}/v1/models/made-up-name", timeout=10)
    text = requests.get(f"{server_process.url}/monitoring/prometheus/metrics", timeout=10).text
    assert "made-up-name" not in text


def test_the_layout_is_tensorflow_servings(server_process: Server) -> None:
    body = {"instances": [1.0, 2.0, 5.0]}
    response = requests.post(f"{server_process.url}/v1/models/h2:predict", json=body, timeout=10)
    # As printed in TensorFlow Serving's own documentation.
    assert response.text == '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'


class Grpc:
    """Both stubs."""

    def __init__(self, server: Server) -> None:
        channel = grpc.insecure_channel(server.grpc)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="module")
def stubs(server_process: Server) -> Grpc:
    return Grpc(server_process)


def _predict_request(name: str = "h2", **inputs: np.ndarray) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_grpc_predict(stubs: Grpc) -> None:
    request = _predict_request(x=np.array([[1.0], [2.0]], np.float32))
    response = stubs.prediction.Predict(request)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["y"]), [[2.5], [3.0]])
    assert response.model_spec.version.value == 123
    assert response.model_spec.signature_name == "serving_default"


def test_grpc_output_filter(stubs: Grpc) -> None:
    values = np.array([1.0], np.float32)
    request = _predict_request("two", a=values, b=values)
    assert set(stubs.prediction.Predict(request).outputs) == {"sum", "pairs"}
    request.output_filter.append("sum")
    assert set(stubs.prediction.Predict(request).outputs) == {"sum"}
    request.output_filter.append("none")
    with pytest.raises(grpc.RpcError, match="output tensor alias not found in signature: none"):
        stubs.prediction.Predict(request)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (_predict_request("nope", x=np.zeros(1)), "NOT_FOUND", "Latest(nope)"),
        (_predict_request("", x=np.zeros(1)), "INVALID_ARGUMENT", "no name"),
        (_predict_request(z=np.zeros(1)), "INVALID_ARGUMENT", "Missing but required: {x}"),
    ],
)
def test_grpc_errors(
    request_: predict_pb2.PredictRequest, code: str, said: str, stubs: Grpc
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stubs.prediction.Predict(request_)
    assert failed.value.code().name == code
    assert said in (failed.value.details() or "")


def _example(x: float) -> tf.train.Example:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature}))


def test_grpc_classify_and_regress(stubs: Grpc) -> None:
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "h2"
    classify.model_spec.signature_name = "classify_x_to_y"
    classify.input.example_list.examples.extend([_example(20.0), _example(0.0)])
    found = stubs.prediction.Classify(classify).result.classifications
    assert [[(c.label, c.score) for c in row.classes] for row in found] == [
        [("", 12.0)],
        [("", 2.0)],
    ]
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = "h2"
    regress.model_spec.signature_name = "regress_x_to_y"
    # A context holds what the examples share.
    regress.input.example_list_with_context.context.CopyFrom(_example(80.0))
    regress.input.example_list_with_context.examples.add()
    assert [r.value for r in stubs.prediction.Regress(regress).result.regressions] == [42.0]


def test_grpc_multi_inference(stubs: Grpc) -> None:
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(_example(80.0))
    for method in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "h2"
        task.model_spec.signature_name = f"{method}_x_to_y"
    first, second = stubs.prediction.MultiInference(request).results
    assert first.classification_result.classifications[0].classes[0].score == 42.0
    assert second.regression_result.regressions[0].value == 42.0


def test_grpc_status_and_metadata(stubs: Grpc) -> None:
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "h2"
    (version,) = stubs.model.GetModelStatus(status).model_version_status
    assert (version.version, version.state, version.status.error_code) == (123, 30, 0)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "h2"
    response = stubs.prediction.GetModelMetadata(metadata)
    definitions = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(definitions)
    assert set(definitions.signature_def) == {
        "serving_default",
        "regress_x_to_y",
        "classify_x_to_y",
    }


def test_a_line_of_the_log_cannot_be_forged(server_process: Server) -> None:
    requests.get(f"{server_process.url}/v1/models/a%0AINFO%20forged", timeout=10)
    until(lambda: "a\\nINFO forged" in server_process.log.read_text())
    log = server_process.log.read_text()
    assert not any(line.startswith("INFO forged") for line in log.splitlines())
