"""HTTP connections that don't wait for ever for a client to say what it wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Mapping
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.doors.rest import CERTIFICATE

# For a request that is on its way while the server ends.
_LAST_CALL_S: Final = 0.3
# For bytes that are at this machine already.
_LAST_LOOK_S: Final = 0.1
# For a client's part of TLS's end, while the server ends.
_GOODBYE_S: Final = 1.0


class _Impatient(H11Protocol):
    """Closes a connection on which no request begins, or whose header doesn't end.

    uvicorn itself waits for ever for the first request of a connection, and for the rest of
    any header that has begun. And when it ends, it closes a connection on which nothing is
    being answered at once, though a request may have reached the machine: here, that is
    answered, and is the connection's last. A client that has closed its sending half still gets the
    answers to what it asked before; uvicorn would hang up.
    """

    # Seconds; set for all connections of a server by `protocol_class`.
    patience = 30.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._silence: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._ending = False
        self._all_came = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            # In each of the connection's requests.
            self.app_state = {**self.app_state, CERTIFICATE: _common_name(certificate)}
        self._listen()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False
        # From the header's end on, the application counts the seconds.
        if self._is_answering():
            self._stop_listening()
        elif self._silence is None:
            self._listen()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        # The body that was cut off gets no answer; nor can TLS be closed by halves.
        if not self._is_answering() or self.cycle.more_body or self.scheme == "https":
            return None
        self._all_came = True
        return True

    def on_response_complete(self) -> None:
        # Begins to answer what was sent in advance, if anything was.
        super().on_response_complete()
        if self._all_came and not self._is_answering():
            self.transport.close()
        if self._ending and not self._is_answering():
            self._do_not_wait_long()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_listening()
        if self._goodbye is not None:
            self._goodbye.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._ending = True
        if self._is_answering():
            super().shutdown()
        else:
            asyncio.get_running_loop().call_later(_LAST_CALL_S, self._hang_up)

    def _hang_up(self) -> None:
        super().shutdown()
        if not self._is_answering():
            self._do_not_wait_long()

    def _do_not_wait_long(self) -> None:
        """Let no client that is idle, and so reads no end of TLS, hold the server's end up."""
        if self.scheme == "https":
            self._goodbye = asyncio.get_running_loop().call_later(_GOODBYE_S, self._abandon)

    def _abandon(self) -> None:
        # What a slow client still reads of its answer stays.
        if self.transport.get_write_buffer_size():
            self._do_not_wait_long()
        else:
            self.transport.abort()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self.patience, self._look_once_more)

    def _look_once_more(self) -> None:
        """Close it soon; a process that was stopped finds the time over, and bytes unread."""
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(_LAST_LOOK_S, self.transport.close)

    def _stop_listening(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


def _common_name(certificate: Mapping[str, Any]) -> str | None:
    """Return whom a client's certificate is of."""
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    return next((value for name, value in pairs if name == "commonName"), None)


def protocol_class(patience: float) -> type[asyncio.Protocol]:
    """Make uvicorn's protocol with that patience, in seconds."""
    return type("Impatient", (_Impatient,), {"patience": patience})


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: signals have to end gRPC, too."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture no signal."""
        yield
