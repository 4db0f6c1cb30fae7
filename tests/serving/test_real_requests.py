"""Requests that people send: TensorFlow Serving's answer, and where that is an error, help.

docs/serving-api.md has the same table.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.fakes import Loader, write_version
from tests.serving.in_thread import ThreadServer, server_in_thread, until

pytestmark = pytest.mark.waits

TEXT = "/v1/models/text:predict"
H2 = "/v1/models/h2:predict"
CONTENT = b"\xfb\xff\xfe some bytes, such as a picture's \x00\x01"
B64 = base64.b64encode(CONTENT).decode()
ROWS = json.dumps({"instances": [{"b64": B64}]}).encode()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
DICOM = bytes(128) + b"DICM" + bytes(100)


def _post(server: ThreadServer, body: bytes, **headers: str) -> requests.Response:
    return requests.post(server.url + TEXT, data=body, headers=headers, timeout=30)


def _b64(text: str) -> bytes:
    return json.dumps({"instances": [{"b64": text}]}).encode()


def _packed(content: bytes) -> bytes:
    """Pack as at no time: tests are named after it."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ROWS, {}),
        (_b64("\n".join(B64[i : i + 8] for i in range(0, len(B64), 8)) + "\r\n"), {}),
        (_b64(B64.rstrip("=")), {}),
        (json.dumps({"inputs": [{"b64": B64}]}).encode(), {}),
        (json.dumps({"inputs": {"text": [{"b64": B64}]}}).encode(), {}),
        (json.dumps({"instances": [{"text": {"b64": B64}}]}).encode(), {}),
        (_packed(ROWS), {"Content-Encoding": "gzip"}),
        (_packed(ROWS[:9]) + _packed(ROWS[9:]), {"Content-Encoding": "gzip"}),
        (b"\xef\xbb\xbf" + ROWS, {}),
        (ROWS, {"Content-Type": "application/x-www-form-urlencoded"}),
        (ROWS, {"Content-Type": "text/plain; charset=utf-16"}),
        (ROWS + b"\n\n", {}),
    ],
)
def test_what_is_answered(body: bytes, headers: dict[str, str], server: ThreadServer) -> None:
    answer = _post(server, body, **headers).json()
    (outputs,) = (answer.get("predictions") or [answer.get("outputs")])[:1]
    found = outputs["same_bytes"]
    assert found in ({"b64": B64}, [{"b64": B64}])


PARSE = "JSON Parse error: Invalid value. at offset: 0"


@pytest.mark.parametrize(
    ("body", "headers", "hint", "said"),
    [
        (PNG, {"Content-Type": "image/png"}, "The body is a PNG image; send JSON", PARSE),
        (b"\xff\xd8\xff\xe0", {}, "The body is a JPEG image; send JSON", PARSE),
        (DICOM, {}, "The body is a DICOM file; send JSON", "The document is empty. at offset: 0"),
        (_packed(ROWS), {}, "send the header Content-Encoding: gzip", PARSE),
        (ROWS, {"Content-Encoding": "gzip"}, "The body is no whole gzip stream", "is empty"),
        (b"\x1b\xa0", {"Content-Encoding": "br"}, "Content-Encoding br is not inflated", PARSE),
        (ROWS.decode().encode("utf-16"), {}, "The body is UTF-16; send it as UTF-8", PARSE),
        (ROWS.decode().encode("utf-16-be"), {}, "The body is UTF-16", "is empty. at offset: 0"),
        (ROWS.decode().encode("utf-16-le"), {}, "The body is UTF-16", "member. at offset: 1"),
        (ROWS.decode().encode("utf-32"), {}, "The body is UTF-32", PARSE),
        (
            urlencode({"data": ROWS}).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
            "The body is a form; send the JSON itself",
            PARSE,
        ),
        (b"--x\r\nContent-Disposition: form-data\r\n", {}, "The body is a form", "at offset: 1"),
        (_b64(f"data:image/png;base64,{B64}"), {}, "Unable to base64 decode", "a data URI"),
        (_b64(base64.urlsafe_b64encode(CONTENT).decode()), {}, "Unable to base64", "URL-safe"),
        (_b64(B64.replace("+", "%2B")), {}, "Unable to base64", "percent-encoded"),
        (_b64(B64 + "="), {}, "Unable to base64 decode", "it ends in 2 '='"),
        (_b64(B64[:-3]), {}, "Unable to base64 decode", "its end is missing"),
        (b'{"word": ["a"]}', {}, "Missing 'inputs' or 'instances' key", "the body has: word"),
        (b'{"instances": [{"image": 1}]}', {}, "does not have named input: image", "are: text"),
    ],
)
def test_where_that_is_an_error_it_says_what_to_do(
    body: bytes, headers: dict[str, str], hint: str, said: str, server: ThreadServer
) -> None:
    response = _post(server, body, **headers)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert hint in response.json()["error"]
    assert said in response.json()["error"]


def test_zeros_behind_gzip_do_not_count_and_other_bytes_do(server: ThreadServer) -> None:
    packed = _packed(ROWS)
    headers = {"Content-Encoding": "gzip"}
    assert _post(server, packed + bytes(100), **headers).status_code == 200
    assert _post(server, packed + b"more", **headers).status_code == 400
    # A member may end anywhere: between two packets, too.
    parts = iter([packed[:5], packed[5:] + _packed(b" ")[:3], _packed(b" ")[3:]])
    answer = requests.post(server.url + TEXT, data=parts, headers=headers, timeout=30)
    assert answer.status_code == 200


def test_members_of_gzip_are_bounded_together(server: ThreadServer) -> None:
    headers = {"Content-Encoding": "gzip"}
    many = _packed(b" " * 200_000)
    assert _post(server, many * 2, **headers).status_code == 413
    empty = _packed(b"")
    # What is packed counts, too: else a body of nothing would never end.
    chunks = (empty * 1000 for _ in range(50))
    try:
        answer = requests.post(server.url + TEXT, data=chunks, headers=headers, timeout=30)
    except requests.ConnectionError:
        return  # the server had hung up before everything was sent
    assert answer.status_code == 413


def _connect(server: ThreadServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=30)


def _request(body: bytes, path: str = H2) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("times", [1, 3])
def test_a_client_that_closed_its_sending_half_gets_its_answers(
    times: int, server: ThreadServer
) -> None:
    with _connect(server) as connection:
        connection.sendall(_request(b'{"instances": [1.0]}') * times)
        connection.shutdown(socket.SHUT_WR)
        answers = _all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == times
    assert answers.count(b'"predictions": [2.5') == times


def test_a_body_that_was_cut_off_is_not_waited_for(server: ThreadServer) -> None:
    with _connect(server) as connection:
        connection.sendall(_request(b'{"instances": [1.0]}')[:-5])
        connection.shutdown(socket.SHUT_WR)
        assert b"200" not in _all(connection)


@pytest.mark.parametrize(
    "target", ["http://any.host:80/v1/models/h2:predict", "/v1/models/h2:predict"]
)
def test_proxies_may_send_the_whole_address(target: str, server: ThreadServer) -> None:
    with _connect(server) as connection:
        connection.sendall(_request(b'{"instances": [1.0]}', target))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("target", ['/v1/models/a"b', "/v1/models/a%zz", "/v1/models/a|b"])
def test_what_is_no_address_is_malformed(target: str, server: ThreadServer) -> None:
    with _connect(server) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_connection_is_kept_for_longer_than_75_seconds_unless_told_otherwise() -> None:
    from serving.settings import Limits

    assert Limits().keep_alive_seconds >= 75


def test_a_connection_without_requests_is_closed_after_the_time_that_was_told(
    server: ThreadServer,
) -> None:
    # The server of these tests has its patience at 1 s; between requests another limit counts.
    address = urlsplit(server.url)
    kept = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    kept.request("GET", "/healthz")
    kept.getresponse().read()
    assert kept.sock is not None
    kept.sock.settimeout(2.0)
    with pytest.raises(TimeoutError):
        kept.sock.recv(1)
    kept.sock.settimeout(30)
    kept.request("GET", "/healthz")
    assert kept.getresponse().status == 200
    kept.close()


@pytest.mark.parametrize("cors", [False, True])
def test_pages_of_other_origins_are_let_in_where_that_is_told(cors: bool, tmp_path: Path) -> None:
    write_version(tmp_path / "m", 1)
    origin = {"Origin": "https://viewer.example"}
    with server_in_thread(Loader(), model_dir=tmp_path, cors=cors) as server:
        for method, path in (("GET", ""), ("GET", "/versions/9"), ("OPTIONS", ":predict")):
            url = f"{server.url}/v1/models/m{path}"
            answer = requests.request(method, url, headers=origin, timeout=10)
            allowed = {k: v for k, v in answer.headers.items() if k.startswith("access-control")}
            assert allowed == (
                {
                    "access-control-allow-origin": "*",
                    "access-control-allow-methods": "POST, GET",
                    "access-control-allow-headers": "Content-Type",
                }
                if cors
                else {}
            )


@pytest.mark.parametrize("path", ["/v1/models/h2/versions/0", "/v1/models/h2/versions/0/metadata"])
def test_version_0_means_the_latest_where_there_is_none(path: str, server: ThreadServer) -> None:
    answer = requests.get(server.url + path, timeout=10)
    assert answer.status_code == 200
    assert '"version": "123"' in answer.text
    body: Any = {"instances": [1.0]}
    answer = requests.post(f"{server.url}/v1/models/h2/versions/0:predict", json=body, timeout=10)
    assert answer.json() == {"predictions": [2.5]}
    answer = requests.post(f"{server.url}/v1/models/no/versions/0:predict", json=body, timeout=10)
    assert answer.status_code == 404


def test_version_0_by_grpc_means_the_latest_too(server: ThreadServer) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "h2"
    request.model_spec.version.value = 0
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.CopyFrom(request.model_spec)
    with grpc.insecure_channel(server.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        assert predict(request).model_spec.version.value == 123
        asked = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        (version,) = asked(status).model_version_status
        assert version.version == 123


def test_a_lone_closed_connection_leaves_nothing_behind(server: ThreadServer) -> None:
    for _ in range(20):
        with _connect(server) as connection:
            connection.sendall(_request(b'{"instances": [1.0]}'))
    metrics = f"{server.url}/monitoring/prometheus/metrics"
    until(lambda: "queued_requests 0.0" in requests.get(metrics, timeout=10).text)
