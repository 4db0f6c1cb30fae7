"""Clients that crash, hang, are slow, deaf, or talk nonsense."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc
import requests
from tensorflow_serving.apis import prediction_service_pb2_grpc

from benchmarks.soak.good_clients import MODEL, by_rest, grpc_request, rest_body
from benchmarks.soak.images import Images
from benchmarks.soak.ledger import Ledger
from serving.process import Server

# Of the server under test.
READ_TIMEOUT_S: Final = 3.0
MAX_BODY_BYTES: Final = 1_000_000
# A stopped server sleeps for ten seconds, and is then as busy as before.
_PATIENCE_S: Final = 45.0
_PATH: Final = f"/v1/models/{MODEL}:predict"
# Asks for ever. Of no library, so that it starts at once.
_KILLED: Final = """
import socket, sys
data = open(sys.argv[3], "rb").read()
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    connection.sendall(data)
    connection.recv(65536)
"""


class BadClient(threading.Thread):
    """Does the same wrong thing again and again, and sees whether the server bears it."""

    def __init__(
        self,
        kind: str,
        server: Server,
        images: Images,
        ledger: Ledger,
        ended: threading.Event,
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            kind: one of `KINDS`.
            server: to harm.
            images: to ask about.
            ledger: to count in.
            ended: nothing begins after it was set.
            seed: of what is drawn.
        """
        super().__init__(name=kind, daemon=True)
        self.kind, self.server, self.images = kind, server, images
        self.ledger, self.ended = ledger, ended
        self.draw = random.Random(f"{kind} {seed}")

    def run(self) -> None:
        """Do it until the end."""
        while not self.ended.wait(self.draw.uniform(0.2, 1.0)):
            try:
                KINDS[self.kind](self)
            except (OSError, subprocess.SubprocessError, requests.RequestException) as error:
                self.ledger.error(self.kind, f"{type(error).__name__}: {error}"[:400])

    def connect(self) -> socket.socket:
        """Open a connection to the REST API."""
        return socket.create_connection(self.address, timeout=_PATIENCE_S)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port of the REST API."""
        url = urlsplit(self.server.url)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    def request(self) -> bytes:
        """Return a whole good request."""
        body = rest_body(self.images.next())
        head = f"POST {_PATH} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def status(self, connection: socket.socket) -> int:
        """Read a status; 0 where the server closed the connection without one."""
        try:
            words = connection.recv(65536).split(b" ", 2)
        except ConnectionResetError:
            return 0
        return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0


def _crash(client: BadClient) -> None:
    """Reset the connection somewhere in a request, or before its answer."""
    request = client.request()
    with client.connect() as connection:
        connection.sendall(request[: client.draw.randint(1, len(request))])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.ledger.ended(client.kind)


def _killed(client: BadClient) -> None:
    """Kill a process that asks."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(client.request())
        host, port = client.address
        command = [sys.executable, "-I", "-S", "-c", _KILLED, host, str(port), file.name]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        client.ended.wait(client.draw.uniform(0.1, 0.6))
        process.kill()
        process.wait()
    client.ledger.ended(client.kind)


def _slow(client: BadClient) -> None:
    """Send a request in many pieces, and take the answer: a slow client is no bad one."""
    request = client.request()
    piece = len(request) // 8 + 1
    with client.connect() as connection:
        for begin in range(0, len(request), piece):
            connection.sendall(request[begin : begin + piece])
            client.ended.wait(READ_TIMEOUT_S / 10)
        status = client.status(connection)
    if status not in (200, 429):
        client.ledger.error(client.kind, f"status {status}")
    else:
        client.ledger.ended(client.kind)


def _hang(client: BadClient) -> None:
    """Stop in the middle of a request: the server has to hang up."""
    request = client.request()
    with client.connect() as connection:
        connection.sendall(request[: client.draw.randint(0, len(request) - 1)])
        status = client.status(connection)
    if status not in (0, 408):
        client.ledger.error(client.kind, f"status {status}")
    else:
        client.ledger.ended(client.kind)


def _deaf(client: BadClient) -> None:
    """Ask for much, and read nothing of it."""
    with client.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(2 * READ_TIMEOUT_S)
        ask = b"GET /monitoring/prometheus/metrics HTTP/1.1\r\nHost: soak\r\n\r\n"
        # The server may have enough of it.
        with contextlib.suppress(OSError):
            connection.sendall(500 * ask)
            client.ended.wait(READ_TIMEOUT_S)
    client.ledger.ended(client.kind)


def _nonsense(client: BadClient) -> None:
    """Send bytes that are no HTTP, or a request that is half nonsense."""
    noise = client.draw.randbytes(client.draw.randint(1, 4000))
    request = client.request()
    cut = client.draw.choice((0, 5, 40, request.index(b"\r\n\r\n") + 20))
    with client.connect() as connection:
        # It may close the connection before all was sent.
        with contextlib.suppress(OSError):
            connection.sendall(request[:cut] + noise)
            connection.shutdown(socket.SHUT_WR)
        status = client.status(connection)
    if status == 200 or status >= 500:
        client.ledger.error(client.kind, f"status {status}")
    else:
        client.ledger.ended(client.kind)


def _wrong(client: BadClient) -> None:
    """Ask in good HTTP for what can't be answered: each gets its own 4xx."""
    image = client.images.next()
    cut = image.content[: client.draw.randint(8, len(image.content) - 60)]
    body, expected = client.draw.choice(
        [
            (rest_body(type(image)(cut, image.base)), {400}),
            (b"{" * 50_000, {400}),
            (b'{"instances": 7}', {400}),
            (b"x" * (MAX_BODY_BYTES + 1), {413}),
        ]
    )
    answer = requests.post(client.server.url + _PATH, data=body, timeout=2 * _PATIENCE_S)
    if answer.status_code not in expected | {429}:
        client.ledger.error(client.kind, f"{answer.status_code} {answer.text[:200]}")
    else:
        client.ledger.ended(client.kind)


def _cancel(client: BadClient) -> None:
    """Call by gRPC, and give up before the answer."""
    with grpc.insecure_channel(client.server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(5):
            call = stub.Predict.future(grpc_request(client.images.next()))
            client.ended.wait(client.draw.uniform(0, 0.02))
            call.cancel()
    client.ledger.ended(client.kind)


# Name -> what such a client does once.
KINDS: Final[dict[str, Callable[[BadClient], None]]] = {
    "crashing": _crash,
    "killed process": _killed,
    "slow": _slow,
    "hanging": _hang,
    "deaf": _deaf,
    "nonsense": _nonsense,
    "wrong requests": _wrong,
    "gRPC cancelled": _cancel,
}


def expected_answers(server: Server, images: Images, ledger: Ledger) -> None:
    """Ask about each phantom once, while nothing else happens."""
    with by_rest(server) as ask:
        for _ in range(len(images)):
            image = images.next()
            probabilities = ask(image)
            ledger.expect(image.base, probabilities)
            ledger.answer("REST", image.sha256, image.base, probabilities)
