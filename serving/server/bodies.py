"""Reads the bodies of requests, and no more of them than there is room for."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from grpc import StatusCode
from starlette.requests import Request

from serving.protocol.status import ServingError, invalid
from serving.settings import Limits

_GZIP: Final = 16 + zlib.MAX_WBITS
# For bytes that are at this machine already.
_LAST_LOOK_S: Final = 0.1


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
        inflater = Inflater() if _is_gzip(request) else None
        received = 0
        parts: list[bytes] = []
        stream = request.stream()
        while (part := await self._next(stream)) is not None:
            received += len(part)
            if received > most:
                raise _too_large(most)
            if inflater:
                part = inflater.inflate(part, most - counted.size + 1)
            counted.add(len(part), self._limits)
            parts.append(part)
        if inflater:
            inflater.end()
        return b"".join(parts)

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        seconds = self._limits.read_seconds
        part = asyncio.ensure_future(anext(stream, None))
        try:
            # Who was stopped for a while finds the time over, and what came meanwhile unread.
            for patience in (seconds, _LAST_LOOK_S):
                done, _ = await asyncio.wait({part}, timeout=patience)
                if done:
                    return part.result()
        finally:
            part.cancel()
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


def _is_gzip(request: Request) -> bool:
    # As TensorFlow Serving, which takes a body of any other encoding as it is.
    return "gzip" in request.headers.get("content-encoding", "").lower()


class Inflater:
    """Inflates a gzip stream of one member or several."""

    def __init__(self) -> None:
        """Start before the first member."""
        self._member = zlib.decompressobj(_GZIP)
        self._is_empty = True

    def inflate(self, part: bytes, most: int) -> bytes:
        """Inflate the next bytes.

        Args:
            part: of the stream.
            most: bytes wanted; there is more where as many come.

        Raises:
            ServingError: it is no gzip stream.
        """
        inflated: list[bytes] = []
        while part and most > 0:
            if self._member.eof:
                # Zeros may fill a stream up.
                part = part.lstrip(b"\0")
                if not part:
                    break
                self._member = zlib.decompressobj(_GZIP)
            self._is_empty = False
            try:
                inflated.append(self._member.decompress(part, most))
            except zlib.error as error:
                raise _not_inflated(str(error)) from error
            most -= len(inflated[-1])
            part = self._member.unused_data
        return b"".join(inflated)

    def end(self) -> None:
        """Check that the last member is whole.

        Raises:
            ServingError: it isn't.
        """
        if not (self._is_empty or self._member.eof):
            raise _not_inflated("its end is missing")


def _not_inflated(why: str) -> ServingError:
    """Say TensorFlow Serving's words, which takes such a body for an empty one."""
    return invalid(
        f"The body is no whole gzip stream ({why}). JSON Parse error: The document is empty"
    )
