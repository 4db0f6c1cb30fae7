"""A server in a process of its own, for tests, benchmarks and checks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests

_START_S: Final = 180.0
_STOP_S: Final = 60.0


@dataclass(frozen=True)
class Server:
    """A process that serves.

    Attributes:
        url: of the REST API.
        grpc: host and port of the gRPC API.
        process: itself.
        log: its standard error's file.
    """

    url: str
    grpc: str
    process: subprocess.Popen[bytes]
    log: Path

    def engine_of(self, model: str) -> str:
        """Find what it runs a model on by its last line; empty where it doesn't serve that name."""
        said = self.log.read_text(errors="replace").splitlines()
        found = [line for line in said if f" {model} version " in line and " is served by " in line]
        return found[-1].split(" is served by ")[1].split()[0] if found else ""


class ServerFailedError(RuntimeError):
    """The server's process ended, or doesn't get ready."""


def free_port() -> int:
    """Find a port of the loopback interface that no process listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running_server(*arguments: str, wait_ready: bool = True) -> Iterator[Server]:
    """Run `cxr serve` on free ports, and end it with SIGTERM.

    Args:
        arguments: of `cxr serve`.
        wait_ready: until every model has a version that answers; else until it listens.

    Raises:
        ServerFailedError: it ended before it was ready.
    """
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", *arguments]
    command += ["--port", str(port), "--grpc-port", str(grpc_port)]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stderr=sink, stdout=sink, env=environment)
        server = Server(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", process, log)
        try:
            _await(server, "/readyz" if wait_ready else "/healthz")
            yield server
        finally:
            stop(server)


def stop(server: Server) -> int:
    """End the server, if it still runs.

    Returns:
        Its exit status.
    """
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.process.kill()
        return server.process.wait()


def _await(server: Server, path: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise ServerFailedError(server.log.read_text(errors="replace"))
        with contextlib.suppress(requests.RequestException):
            if requests.get(server.url + path, timeout=5).status_code == requests.codes.ok:
                return
        time.sleep(0.1)
    raise ServerFailedError(
        f"not ready in {_START_S:g} s: {server.log.read_text(errors='replace')}"
    )
