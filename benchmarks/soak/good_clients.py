"""Good clients: four ways to ask, each request until it has its answer."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.soak.images import Image, Images
from benchmarks.soak.ledger import Ledger
from schema import contract
from serving.open_inference.messages import SERVICE, message
from serving.process import Server

MODEL: Final = "lungs"
# Longer than a stopped server sleeps.
_TIMEOUT_S: Final = 90.0
_AGAIN_S: Final = 0.1

# An image -> its probabilities; raises BusyError, or whatever its library raises.
Ask = Callable[[Image], Sequence[float]]


class BusyError(Exception):
    """The server says that the request has to come again later."""


class FailedError(Exception):
    """The server answered with an error."""


def _checked(answer: requests.Response) -> Any:
    if answer.status_code == requests.codes.too_many_requests:
        raise BusyError
    if answer.status_code != requests.codes.ok:
        raise FailedError(f"{answer.status_code} {answer.text[:200]}")
    return answer.json()


def rest_body(image: Image) -> bytes:
    """Return the body of a request to TensorFlow Serving's REST API."""
    instance = {"b64": base64.b64encode(image.content).decode()}
    return json.dumps({"instances": [instance]}).encode()


@contextmanager
def by_rest(server: Server) -> Iterator[Ask]:
    """Ask by TensorFlow Serving's REST API."""
    with requests.Session() as session:

        def ask(image: Image) -> Sequence[float]:
            url = f"{server.url}/v1/models/{MODEL}:predict"
            found = _checked(session.post(url, data=rest_body(image), timeout=_TIMEOUT_S))
            (prediction,) = found["predictions"]
            return list(prediction[contract.OUTPUT_PROBABILITIES])

        yield ask


@contextmanager
def by_open_inference(server: Server) -> Iterator[Ask]:
    """Ask by the Open Inference Protocol's HTTP API, with binary data."""
    with requests.Session() as session:

        def ask(image: Image) -> Sequence[float]:
            data = struct.pack("<I", len(image.content)) + image.content
            tensor = {
                "name": contract.INPUT_IMAGES,
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(data)},
            }
            outputs = [{"name": contract.OUTPUT_PROBABILITIES}]
            head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
            answer = session.post(
                f"{server.url}/v2/models/{MODEL}/infer",
                data=head + data,
                headers={"Inference-Header-Content-Length": str(len(head))},
                timeout=_TIMEOUT_S,
            )
            (output,) = _checked(answer)["outputs"]
            return list(output["data"])

        yield ask


@contextmanager
def _busy_or_failed() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise BusyError from None
        raise FailedError(f"{error.code().name} {error.details()}") from None


@contextmanager
def by_grpc(server: Server) -> Iterator[Ask]:
    """Ask by TensorFlow Serving's gRPC API."""
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(image: Image) -> Sequence[float]:
            with _busy_or_failed():
                answer = stub.Predict(grpc_request(image), timeout=_TIMEOUT_S)
            return list(tf.make_ndarray(answer.outputs[contract.OUTPUT_PROBABILITIES])[0])

        yield ask


def grpc_request(image: Image) -> predict_pb2.PredictRequest:
    """Return a request to TensorFlow Serving's gRPC API."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs[contract.INPUT_IMAGES].CopyFrom(tf.make_tensor_proto([image.content]))
    return request


@contextmanager
def by_open_inference_grpc(server: Server) -> Iterator[Ask]:
    """Ask by the Open Inference Protocol's gRPC API, with raw contents."""
    request_class = message("ModelInferRequest")
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=request_class.SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )

        def ask(image: Image) -> Sequence[float]:
            request = request_class(model_name=MODEL)
            request.inputs.add(name=contract.INPUT_IMAGES, datatype="BYTES", shape=[1])
            request.outputs.add(name=contract.OUTPUT_PROBABILITIES)
            request.raw_input_contents.append(struct.pack("<I", len(image.content)) + image.content)
            with _busy_or_failed():
                answer = call(request, timeout=_TIMEOUT_S)
            (raw,) = answer.raw_output_contents
            return list(np.frombuffer(raw, "<f4"))

        yield ask


WAYS: Final = {
    "REST": by_rest,
    "gRPC": by_grpc,
    "Open Inference, HTTP": by_open_inference,
    "Open Inference, gRPC": by_open_inference_grpc,
}


class GoodClient(threading.Thread):
    """Asks image after image, as fast as it gets answers, until it is told to end."""

    def __init__(
        self, way: str, server: Server, images: Images, ledger: Ledger, ended: threading.Event
    ) -> None:
        """Prepare.

        Args:
            way: one of `WAYS`.
            server: to ask.
            images: to ask about.
            ledger: to count in.
            ended: no request begins after it was set.
        """
        super().__init__(name=way, daemon=True)
        self._way, self._server, self._images = way, server, images
        self._ledger, self._ended = ledger, ended

    def run(self) -> None:
        """Ask."""
        with WAYS[self._way](self._server) as ask:
            while not self._ended.is_set():
                self._one(ask, self._images.next())

    def _one(self, ask: Ask, image: Image) -> None:
        """Ask about an image until there is an answer, or an error, which nobody may see."""
        while True:
            try:
                probabilities = ask(image)
            except BusyError:
                self._ledger.refuse()
                self._ended.wait(_AGAIN_S)
                continue
            # Whatever it is, it is what a client sees.
            except Exception as error:
                self._ledger.error(self._way, f"{type(error).__name__}: {error}"[:400])
                return
            self._ledger.answer(self._way, image.sha256, image.base, probabilities)
            return
