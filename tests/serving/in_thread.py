"""`cxr serve` in a thread of the tests' own process: it starts in no time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.process import free_port
from serving.servables.servable import Servable
from serving.settings import Settings


@dataclass
class ThreadServer:
    """A server in a thread.

    Attributes:
        url: of the REST API.
        grpc: host and port of the gRPC API, where the test gives `grpc_port`.
        thread: that it runs in.
        signals: number -> what the server does at that signal.
    """

    url: str
    grpc: str
    thread: threading.Thread
    signals: dict[int, Callable[[], object]] = field(default_factory=dict)

    def stop(self) -> None:
        """What SIGTERM does; returns when the server has ended."""
        self.signals[signal.SIGTERM]()
        self.thread.join(60)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def server_in_thread(
    load: Callable[[Path], Servable], *, ca: Path | None = None, **settings: Any
) -> Iterator[ThreadServer]:
    """Run `serving.server.run.start` until the block ends.

    Args:
        load: version's folder -> servable, instead of `load_servable`.
        ca: who signed the server's certificate; None without TLS. A client's that it asks for is
            `client.crt` with its key beside it.
        settings: fields of Settings.
    """
    from serving.core import manager
    from serving.server import run

    port = free_port()
    wanted = Settings(**{"port": port, "grpc_port": 0, **settings})
    scheme = "https" if ca else "http"
    url, grpc = f"{scheme}://127.0.0.1:{port}", f"127.0.0.1:{wanted.grpc_port}"
    server = ThreadServer(url, grpc, threading.Thread(daemon=True))
    whole: Any = asyncio.SelectorEventLoop.add_signal_handler

    def add_signal_handler(
        loop: asyncio.AbstractEventLoop, number: int, act: Callable[[], object]
    ) -> None:
        # Only the main thread may have real ones: a test may call `cxr serve` there meanwhile.
        if threading.current_thread() is server.thread:
            server.signals[number] = lambda: loop.call_soon_threadsafe(act)
        else:
            whole(loop, number, act)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", add_signal_handler)
        patch.setattr(run, "load_servable", lambda path, *_: load(path))
        # To look through all that the tests of this process have made takes a fifth of a second.
        patch.setattr(manager, "give_back", lambda: None)
        server.thread = threading.Thread(target=run.start, args=[wanted], daemon=True)
        server.thread.start()
        try:
            until(lambda: _answers(server.url, ca))
            yield server
        finally:
            if server.thread.is_alive():
                server.stop()


def _answers(url: str, ca: Path | None) -> bool:
    named: dict[str, Any] = {}
    if ca is not None:
        named = {"verify": str(ca), "cert": _certificate(ca)}
    try:
        return requests.get(f"{url}/readyz", timeout=10, **named).status_code == requests.codes.ok
    except requests.ConnectionError:
        return False


def _certificate(ca: Path) -> tuple[str, str] | None:
    certificate, key = ca.with_name("client.crt"), ca.with_name("client.key")
    return (str(certificate), str(key)) if certificate.exists() else None


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it doesn't hold, for that long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
