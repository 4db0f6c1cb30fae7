"""What clients get wrong, or mean badly, and what becomes of the others meanwhile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image
from starlette.requests import Request

from serving.core.limits import checked, claimed_pixels
from serving.protocol.status import ServingError
from serving.server import run
from serving.server.bodies import Bodies, HttpError
from serving.settings import DoorSettings, Limits, Settings
from tests.serving.conftest import Cxr
from tests.serving.in_thread import ThreadServer

pytestmark = pytest.mark.waits

H2 = "/v1/models/h2:predict"
BODY = {"instances": [1.0, 2.0]}


def _post(server: ThreadServer, body: Any, path: str = H2, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(server.url + path, data=data, headers=headers, timeout=60)


def _is_alive(server: ThreadServer) -> bool:
    return _post(server, BODY).json() == {"predictions": [2.5, 3.0]}


def _socket(server: ThreadServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=10)


def _png(width: int, height: int) -> bytes:
    """A PNG that claims a size; its data are zeros, as many as that takes, well packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    parts = [packer.compress(row) for _ in range(min(height, 2000))]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"".join([*parts, packer.flush()])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\xff",
        b"{",
        b'{"instances": [' + b"[" * 50_000,
        b'{"instances": ' + b"9" * 10_000 + b"}",
    ],
)
def test_malformed_bodies(body: bytes, server: ThreadServer) -> None:
    response = _post(server, body)
    assert response.status_code == 400
    assert "error" in response.json()
    assert _is_alive(server)


def test_a_huge_body_is_refused_by_what_it_announces(server: ThreadServer) -> None:
    with _socket(server) as connection:
        connection.sendall(
            b"POST /v1/models/h2:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    assert _is_alive(server)


def test_a_huge_body_is_refused_by_what_comes(server: ThreadServer) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    try:
        response = requests.post(server.url + H2, data=endless(), timeout=30)
    except requests.ConnectionError:
        pass  # the server had hung up before everything was sent
    else:
        assert response.status_code == 413
    assert _is_alive(server)


def test_gzip_is_taken_and_a_bomb_of_it_is_not(server: ThreadServer) -> None:
    packed = gzip.compress(json.dumps(BODY).encode())
    answer = _post(server, packed, **{"Content-Encoding": "gzip"})
    assert answer.json() == {"predictions": [2.5, 3.0]}
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < 200_000
    assert _post(server, bomb, **{"Content-Encoding": "gzip"}).status_code == 413
    assert _post(server, packed[:-9], **{"Content-Encoding": "gzip"}).status_code == 400
    assert _post(server, b"no gzip", **{"Content-Encoding": "gzip"}).status_code == 400
    assert _post(server, packed, **{"Content-Encoding": "br"}).status_code == 400
    assert _is_alive(server)


def test_an_image_bomb_is_refused_by_its_header(server: ThreadServer) -> None:
    bomb = _png(40_000, 40_000)
    assert len(bomb) < 200_000
    body = {"instances": [{"b64": base64.b64encode(bomb).decode()}]}
    response = _post(server, body, "/v1/models/text:predict")
    assert response.status_code == 400
    assert "image 0 has 1600000000 pixels" in response.json()["error"]
    assert _is_alive(server)


def test_pixels_are_counted_in_all_forms(encode: Callable[..., bytes]) -> None:
    import tensorflow as tf

    image = np.zeros((30, 20), np.uint8)
    jpeg = encode(Image.fromarray(image), "JPEG")
    png = encode(image)
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
    example = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature}))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "BMP")
    for content in (png, jpeg, example.SerializeToString(), buffer.getvalue()):
        assert claimed_pixels(content) == 600
    for content in (b"", b"hello", png[:10], jpeg[:5], b"BM"):
        assert claimed_pixels(content) is None


def test_too_many_rows_are_refused(server: ThreadServer) -> None:
    response = _post(server, {"instances": [1.0] * 65})
    assert response.status_code == 400
    assert "a batch of 65 is more than the 64" in response.json()["error"]
    with pytest.raises(ServingError, match="a batch of 3"):
        checked({"x": np.zeros(3)}, Limits(batch_size=2))
    # As many as the limit says are taken.
    assert checked({"x": np.zeros(2)}, Limits(batch_size=2)).keys() == {"x"}


def test_a_slow_client_is_let_go_and_holds_nobody_up(server: ThreadServer) -> None:
    with _socket(server) as slow:
        slow.sendall(
            b"POST /v1/models/h2:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        )
        assert _is_alive(server)
        began = time.monotonic()
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 10
    assert _is_alive(server)


def test_a_connection_on_which_no_request_begins_is_closed(server: ThreadServer) -> None:
    address = urlsplit(server.url)
    kept = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(_socket(server)) for _ in range(3)]
        for one, said in zip(
            silent, (b"", b"POST /v1/models/h2:pre", b"GET /healthz HTTP/1.1\r\nHo"), strict=True
        ):
            one.sendall(said)
        stack.callback(kept.close)
        kept.connect()
        connection = kept.sock
        # Longer than the patience of a second, and never that long without a request.
        for _ in range(3):
            kept.request("GET", "/healthz")
            assert kept.getresponse().read() == b'{"status": "ok"}'
            time.sleep(0.6)
        for one in silent:
            assert one.recv(4096) == b""
        kept.request("GET", "/healthz")
        assert kept.getresponse().read() == b'{"status": "ok"}'
        assert kept.sock is connection


def test_bodies_that_leave_no_room_are_told_to_come_again() -> None:
    def request(content: bytes) -> Request:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        return Request({"type": "http", "headers": []}, receive)

    async def hold_two() -> None:
        bodies = Bodies(Limits(body_bytes=80, held_bytes=100))
        async with bodies.read(request(b"a" * 60)) as first:
            assert (len(first), bodies.held) == (60, 60)
            with pytest.raises(ServingError, match="no room") as refused:
                async with bodies.read(request(b"b" * 60)):
                    pass
            assert refused.value.http_status == 429
            async with bodies.read(request(b"c" * 40)) as other:
                assert (len(other), bodies.held) == (40, 100)
        assert bodies.held == 0
        with pytest.raises(HttpError, match="more than the 80 bytes"):
            async with bodies.read(request(b"d" * 81)):
                pass
        assert bodies.held == 0

    asyncio.run(hold_two())


def test_clients_that_hang_up_leave_nothing_behind(server: ThreadServer) -> None:
    body = json.dumps(BODY).encode()
    head = f"POST {H2} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for cut in (10, len(head) + 3, len(head) + len(body)):
        for _ in range(20):
            with _socket(server) as connection:
                connection.sendall((head + body)[:cut])
    assert _is_alive(server)
    text = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=10).text
    assert "cxr_serving_queued_requests 0.0" in text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../h2:predict",
        "/v1/models/..%2Fh2:predict",
        "/v1/models/%2e%2e%2fh2:predict",
        "/v1/models/h2%00:predict",
        "/v1/models//etc/passwd:predict",
    ],
)
def test_tricks_with_names_reach_no_file(path: str, server: ThreadServer) -> None:
    # By hand: requests would tidy the path up.
    body = json.dumps(BODY).encode()
    with _socket(server) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert connection.recv(4096).split()[1] in (b"400", b"404")


def test_it_listens_on_loopback_only_and_not_on_a_taken_port(
    tmp_path: Path, server: ThreadServer, cxr: Cxr, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.settings import LOOPBACK

    assert LOOPBACK == "127.0.0.1"
    (tmp_path / "m").mkdir()
    port = str(urlsplit(server.url).port)
    assert cxr("serve", "--model-dir", tmp_path, "--port", port, "--grpc-port", "0") == 2
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is taken" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --model-dir or --model-config-file"),
        (["--model-dir", "absent"], "absent is no folder"),
        (["--model-config-file", "absent"], "absent can't be read"),
        (["--model-dir", ".", "--host", "0.0.0.0"], "--ssl-config-file, or --insecure-without-tls"),
    ],
)
def test_wrong_settings_are_told(
    arguments: list[str], said: str, cxr: Cxr, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cxr("serve", *arguments) == 2
    assert said in capsys.readouterr().err


def test_each_option_reaches_the_server(
    cxr: Cxr, tmp_path: Path, network_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(run, "start", started.append)
    assert cxr("serve", "--model-dir", tmp_path) == 0
    given = {
        "--model-config-file": "models.config", "--host": "::1", "--rest-api-port": 1,
        "--grpc-port": 2, "--model-config-file-poll-wait-seconds": 3,
        "--file-system-poll-wait-seconds": 4, "--engine": "openvino", "--precision": "bf16",
        "--batch-threads": 5, "--max-body-bytes": 6, "--max-held-bytes": 7, "--max-batch-size": 8,
        "--max-pixels": 9, "--max-queue": 10, "--request-timeout-seconds": 11,
        "--read-timeout-seconds": 12, "--shutdown-timeout-seconds": 13, "--metrics-path": "",
        "--network-cache": "", "--keep-alive-timeout-seconds": 14,
        "--num-request-iterations-for-warmup": 15, "--ssl-config-file": "ssl.config",
        "--token-file": "tokens", "--audit-file": "audit", "--max-client-requests": 16,
    }  # fmt: skip
    words = [str(word) for option in given.items() for word in option]
    words += ["--no-enable-model-warmup", "--rest-api-enable-cors-support"]
    words += ["--insecure-without-tls", "--insecure-without-authentication"]
    words += ["--require-signature", "a.pem", "--require-signature", "b.pem"]
    assert (
        cxr(
            "serve",
            "--allow-version-labels-for-unavailable-models",
            "--no-enable-model-warmup",
            "--rest-api-enable-cors-support",
            *words,
        )
        == 0
    )
    assert started == [
        Settings(model_dir=tmp_path, network_cache=network_cache),
        Settings(
            config_file=Path("models.config"),
            host="::1",
            port=1,
            grpc_port=2,
            config_poll_s=3.0,
            file_poll_s=4.0,
            labels_for_unavailable=True,
            engine="openvino",
            precision="bf16",
            batch_threads=5,
            shutdown_s=13.0,
            metrics_path=None,
            cors=True,
            warm_up=False,
            warm_up_rounds=15,
            signed_by=(Path("a.pem"), Path("b.pem")),
            limits=Limits(6, 7, 8, 9, 10, 11.0, 12.0, 14.0),
            doors=DoorSettings(Path("ssl.config"), Path("tokens"), Path("audit"), 16, True, True),
        ),
    ]
