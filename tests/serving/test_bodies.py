"""Bodies that come late, and a server that slept meanwhile."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import AsyncIterator

import pytest

from serving.server.bodies import Bodies, HttpError
from serving.settings import Limits

PATIENCE_S = 0.05


class _Stopped(selectors.DefaultSelector):
    """Finds nothing, once, as epoll does in Python when the process was stopped for too long."""

    finds_nothing = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.finds_nothing:
            self.finds_nothing = False
            return []
        return super().select(timeout)


def _run(data: bytes, asleep: float) -> bytes | None:
    selector = _Stopped()
    loop = asyncio.SelectorEventLoop(selector)
    try:
        return loop.run_until_complete(_next_of(data, asleep, selector))
    finally:
        loop.close()


async def _next_of(data: bytes, asleep: float, selector: _Stopped) -> bytes | None:
    """What is read of a connection on which data come while the process sleeps."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    async def stream() -> AsyncIterator[bytes]:
        yield await reader.read(100)

    with theirs:
        waiting = asyncio.ensure_future(Bodies(Limits(read_seconds=PATIENCE_S))._next(stream()))
        # It begins to wait.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        theirs.sendall(data)
        time.sleep(asleep)
        selector.finds_nothing = True
        try:
            return await waiting
        finally:
            writer.close()


def test_what_came_while_the_server_was_stopped_is_in_time() -> None:
    assert _run(b"late", 4 * PATIENCE_S) == b"late"


def test_where_nothing_comes_the_client_is_told() -> None:
    with pytest.raises(HttpError, match="No byte came for") as told:
        _run(b"", 0.0)
    assert told.value.status == 408
