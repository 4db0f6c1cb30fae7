"""Reads the bodies of requests, and no more of them than there is room for."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from grpc import StatusCode
from starlette.requests import Request

from serving.protocol.status import ServingError, invalid
from serving.settings import Limits

_GZIP: Final = 16 + zlib.MAX_WBITS


class HttpError(Exception):
    """An error that TensorFlow Serving has no code for.

    Attributes:
        status: of HTTP.
        message: for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status
        self.message = message


class Bodies:
    """All bodies that a server holds at the moment."""

    def __init__(self, limits: Limits) -> None:
        """Start without a body."""
        self._limits = limits
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a whole body, inflated; it counts as held until the block ends.

        Raises:
            HttpError: it is too large, or comes too slowly.
            ServingError: it can't be inflated, or there is no room for it now.
        """
        counted = _Counted(self)
        try:
            yield await self._whole(request, counted)
        finally:
            self.held -= counted.size

    async def _whole(self, request: Request, counted: _Counted) -> bytes:
        most = self._limits.body_bytes
        if int(request.headers.get("content-length") or 0) > most:
            raise _too_large(most)
        inflater = _inflater(request.headers.get("content-encoding", "identity"))
        parts: list[bytes] = []
        stream = request.stream()
        while (part := await self._next(stream)) is not None:
            if inflater:
                part = _inflated(inflater, part, most - counted.size + 1)
            counted.add(len(part), self._limits)
            parts.append(part)
        if inflater and not inflater.eof:
            raise invalid("The body is no whole gzip stream")
        return b"".join(parts)

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        seconds = self._limits.read_seconds
        with anyio.move_on_after(seconds):
            return await anext(stream, None)
        raise HttpError(408, f"No byte came for {seconds:g} s")


class _Counted:
    """The bytes of one body."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def add(self, size: int, limits: Limits) -> None:
        self.size += size
        self._bodies.held += size
        if self.size > limits.body_bytes:
            raise _too_large(limits.body_bytes)
        if self._bodies.held > limits.held_bytes:
            raise ServingError(
                StatusCode.RESOURCE_EXHAUSTED,
                "The requests that are being answered leave no room for this one; try again later",
            )


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"The body has more than the {most} bytes that are taken here")


def _inflater(encoding: str) -> Any:
    """Make what inflates a body; None of a body that is as it is."""
    kind = encoding.lower()
    if kind not in ("identity", "gzip"):
        shown = kind.encode("unicode_escape").decode()[:50]
        raise invalid(f"Content-Encoding {shown} is not supported; gzip is")
    return zlib.decompressobj(_GZIP) if kind == "gzip" else None


def _inflated(inflater: Any, part: bytes, most: int) -> bytes:
    try:
        return bytes(inflater.decompress(part, most))
    except zlib.error as error:
        raise invalid(f"The body is no gzip stream: {error}") from error
