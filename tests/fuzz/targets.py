"""The doors of the server as functions of bytes: they end well, or raise AssertionError.

    python -m tests.fuzz.targets NAME …      fuzz one with atheris; … are libFuzzer's options

Whatever comes in, a client gets an answer or a clean error of its own making: no 5xx, no
exception that the product doesn't know.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import socket
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from common.runtime import prepare_environment

if TYPE_CHECKING:
    import grpc

    from tests.serving.in_thread import ThreadServer

# Of them atheris follows the branches that are taken.
FOLLOWED: Final = ("serving", "models.conversion", "models.rendering", "uvicorn", "h11", "pydicom")
_PREDICT: Final = "/v1/models/lungs:predict"
_INFER: Final = "/v2/models/lungs/infer"
_LENGTH: Final = "Inference-Header-Content-Length"
_SECONDS: Final = 20.0
# TensorFlow Serving's answer to a method that HTTP doesn't know; and to types that it can't read.
_NOT_KNOWN: Final = (501,)
# Not the client's doing, or a fault of the server.
_BAD_CODES: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNAVAILABLE")
# gRPC's own words where a message is no protocol buffer.
_NO_MESSAGE: Final = "Exception deserializing request!"
# HandleReloadConfigRequest is left out: it may rightly end all models.
_METHODS: Final = (
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/Regress",
    "/tensorflow.serving.PredictionService/MultiInference",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/inference.GRPCInferenceService/ModelReady",
)


@functools.cache
def _served() -> tuple[ThreadServer, grpc.Channel]:
    """Start a server in a thread, once; it ends with the process."""
    import grpc

    from serving.process import free_port
    from serving.protocol.status import invalid
    from serving.settings import Limits
    from tests.serving.in_thread import server_in_thread
    from tests.serving.prediction_log.logged import Radiologist, folder_of

    class Careful(Radiologist):
        """Refuses scalars, as models do."""

        def _run(self, signature: Any, inputs: Any) -> Any:
            if any(not value.ndim for value in inputs.values()):
                raise invalid("a scalar")
            return super()._run(signature, inputs)

    port = free_port()
    # Few rows: libFuzzer tells the peak of memory, which a large batch raises and no leak.
    limits = Limits(
        body_bytes=2**20, batch_size=16, pixels=10**6, read_seconds=2.0, request_seconds=10.0
    )
    running = server_in_thread(
        lambda _: Careful(),
        model_dir=folder_of(Path(tempfile.mkdtemp())),
        grpc_port=port,
        limits=limits,
    )
    server = _KEPT.enter_context(running)
    return server, _KEPT.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))


_KEPT: Final = contextlib.ExitStack()


def http(data: bytes) -> None:
    """Send bytes as a connection; after a first byte 1 or 2 as the body of a request."""
    server, _ = _served()
    kind, rest = data[:1], data[1:]
    if kind == b"\1":
        data = _framed(_PREDICT, rest)
    elif kind == b"\2":
        data = _framed(_INFER, rest[1:], f"{_LENGTH}: {rest[0] if rest else 0}\r\n")
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port or 0), timeout=_SECONDS) as connection:
        # It may hang up before all was sent.
        with contextlib.suppress(ConnectionError, OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    if answer:
        words = answer.split(b" ", 2)
        assert words[0].startswith(b"HTTP/1."), answer[:200]
        assert 200 <= int(words[1]) < 500 or int(words[1]) in _NOT_KNOWN, answer[:500]


def json_text(data: bytes) -> None:
    """Read bytes as a body of each API; after a first byte as one with binary data."""
    from serving.open_inference.http_infer import parse_infer
    from serving.protocol.examples_request import parse_examples
    from serving.protocol.predict_request import parse_predict
    from serving.protocol.status import ServingError
    from serving.protocol.tensors import TensorSpec

    specs = {
        "image_bytes": TensorSpec("string", (-1,)),
        "x": TensorSpec("float", (-1, 2)),
        "n": TensorSpec("int64", (-1,)),
    }
    readers: tuple[Callable[[], object], ...] = (
        lambda: parse_predict(data, lambda _: {"image_bytes": specs["image_bytes"]}),
        lambda: parse_predict(data, lambda _: specs),
        lambda: parse_examples(data),
        lambda: parse_infer(data, None),
        lambda: parse_infer(data[1:], str(data[0]) if data else "0"),
    )
    for read in readers:
        try:
            read()
        except ServingError as error:
            assert error.code.name not in _BAD_CODES, error


def grpc_body(data: bytes) -> None:
    """Send bytes as a message; the first one says which call."""
    import grpc

    _, channel = _served()
    if not data:
        return
    try:
        call: Any = channel.unary_unary(_METHODS[data[0] % len(_METHODS)])
        call(data[1:], timeout=_SECONDS)
    except grpc.RpcError as error:
        code, words = error.code().name, error.details() or ""
        assert code not in _BAD_CODES or words == _NO_MESSAGE, f"{code} {words}"


def image(data: bytes) -> None:
    """Take bytes for an image, as the server does, and decode what it lets through."""
    from serving.core.limits import checked
    from serving.protocol.status import ServingError
    from serving.protocol.tensors import strings
    from serving.settings import Limits

    try:
        ready = checked({"image_bytes": strings([data])}, Limits(pixels=10**6))
    except ServingError as error:
        assert error.code.name not in _BAD_CODES, error
        return
    import tensorflow as tf

    from models.preprocessing import decode_and_resize

    # What TensorFlow says of a broken image goes to the client with its own code.
    with contextlib.suppress(tf.errors.InvalidArgumentError):
        decode_and_resize(tf.constant(ready["image_bytes"][0]))


def _framed(path: str, body: bytes, head: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}{length}\r\n".encode() + body


def _pixels(side: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side + 1), np.uint8)


def _picture(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels()).save(buffer, form, **options)
    return buffer.getvalue()


def _dicoms() -> Iterator[bytes]:
    from tests.dicoms import dataset, encoded, from_frame, phantom

    pixels = phantom(12, (12, 13))
    for syntax in ("explicit", "implicit"):
        yield encoded(dataset(pixels, 12), syntax)
    frames = json.loads(Path("tests/dicom_frames.json").read_text())
    for name in list(frames)[:4]:
        yield from_frame(name)


def _bodies() -> list[bytes]:
    instance = {"b64": b64encode(_picture("PNG")).decode()}
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    example = {"image": instance, "age": 7, "sex": ["F"], "crp": [1.5]}
    documents: tuple[Any, ...] = (
        {"instances": [instance, {"image_bytes": instance}]},
        {"inputs": {"x": [[1, 2.5]], "n": [-3]}, "signature_name": "serving_default"},
        {"examples": [example], "context": {"site": "a"}},
        {"id": "7", "inputs": [tensor], "outputs": [{"name": "probabilities"}]},
        {"inputs": [{**tensor, "data": [], "parameters": {"binary_data_size": 5}}]},
    )
    return [json.dumps(document).encode() for document in documents]


def _messages() -> Iterator[bytes]:
    import tensorflow as tf
    from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2

    from serving.open_inference.messages import message

    predict = predict_pb2.PredictRequest()
    predict.model_spec.name = "lungs"
    predict.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([_picture("PNG")]))
    yield b"\0" + predict.SerializeToString()
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "lungs"
    classify.model_spec.signature_name = "classify"
    classify.input.example_list.examples.add().features.feature["a"].float_list.value.append(1)
    yield b"\1" + classify.SerializeToString()
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "lungs"
    yield b"\4" + metadata.SerializeToString()
    infer = message("ModelInferRequest")(model_name="lungs", id="7")
    tensor = infer.inputs.add(name="image_bytes", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"a")
    yield b"\6" + infer.SerializeToString()
    tensor.ClearField("contents")
    infer.raw_input_contents.append(b"\1\0\0\0a")
    yield b"\6" + infer.SerializeToString()


def _connections() -> Iterator[bytes]:
    bodies = _bodies()
    yield _framed(_PREDICT, bodies[0])
    yield b"GET /v1/models/lungs/versions/7/metadata HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    chunked = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ins\r\n0\r\n\r\n'
    yield f"POST {_PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n".encode() + chunked
    yield b"\1" + bodies[0]
    yield b"\2\x70" + bodies[4] + b"\1\0\0\0a"


def _images() -> Iterator[bytes]:
    yield _picture("PNG")
    yield _picture("JPEG")
    yield _picture("JPEG", progressive=True)
    yield from _dicoms()


# Name -> the function, and inputs to begin with.
TARGETS: Final[dict[str, tuple[Callable[[bytes], None], Callable[[], Iterator[bytes]]]]] = {
    "http": (http, _connections),
    "json": (json_text, lambda: iter(_bodies())),
    "grpc": (grpc_body, _messages),
    "image": (image, _images),
}


def main() -> None:
    """Fuzz one target until libFuzzer's options say that it is enough."""
    atheris = importlib.import_module("atheris")
    name = sys.argv[1]
    prepare_environment()
    target, _ = TARGETS[name]
    import logging

    logging.disable(logging.CRITICAL)
    # With the modules that the target imports when it is first called.
    with atheris.instrument_imports(include=list(FOLLOWED)):
        target(b"")
        if name == "image":
            for seed in _images():
                target(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
