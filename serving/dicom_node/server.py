"""pynetdicom's server, with bounds that it lacks.

Its own does the TLS handshake in the thread that accepts, where one silent client stops all; waits
for ever for a client that stops amid a message; and reads a message of whatever length it claims.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from serving.dicom_node.settings import NodeLimits

LOGGER: Final = logging.getLogger("cxr.node")
# What an A-ASSOCIATE-RQ may take: 128 contexts with all transfer syntaxes take a third of it.
_LEAST_PDU: Final = 256 * 2**10
# Of a piece of a message, PS3.8, E.2: it is a command; it is the last.
_COMMAND, _LAST = 0b01, 0b10


def plain_host(address: str) -> str:
    """Write a peer's address as the settings do: IPv4 without IPv6's prefix."""
    return str(address).removeprefix("::ffff:")


class Bounds:
    """The bounds of what one association may send."""

    def __init__(self, limits: NodeLimits, read: Callable[[int], bytearray], who: str) -> None:
        """Watch over a connection.

        Args:
            limits: of messages.
            read: so many bytes of the connection.
            who: for the log.
        """
        self._limits, self._read, self._who = limits, read, who
        self._so_far = 0
        self._over = False

    def read(self, size: int) -> bytearray:
        """Read so many bytes, if that is no more than a message may have.

        Raises:
            OSError: it is; the connection ends.
        """
        if self._over or size > max(self._limits.pdu_bytes, _LEAST_PDU):
            raise OSError("more than the limits allow")
        return self._read(size)

    def count(self, event: evt.Event) -> None:
        """Count the bytes of an image as they come; too many end the connection."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        for piece in event.pdu.presentation_data_value_items:
            value = piece.presentation_data_value or b"\0"
            self._so_far += len(value) - 1
            most = self._limits.pdu_bytes if value[0] & _COMMAND else self._limits.instance_bytes
            if self._so_far > most and not self._over:
                self._over = True
                LOGGER.warning("%s sends more than %d bytes at once: cut off", self._who, most)
            if value[0] & _LAST:
                self._so_far = 0


class _Handler(RequestHandler):
    server: BoundedServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        carrier: Any = association.dul.socket
        bounds = Bounds(self.server.limits, carrier.recv, str(self.client_address[0]))
        carrier.recv = bounds.read
        association.bind(evt.EVT_PDU_RECV, bounds.count)
        return association


class BoundedServer(ThreadedAssociationServer):
    """A server of associations that talks with some hosts alone, and with none for ever."""

    daemon_threads = True

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        *,
        hosts: frozenset[str],
        limits: NodeLimits,
        context: ssl.SSLContext | None,
        handlers: list[Any],
    ) -> None:
        """Listen on an address.

        Args:
            ae: with its contexts and time-outs.
            address: host and port.
            hosts: addresses that may connect.
            limits: of associations and messages.
            context: of TLS; None for none.
            handlers: of pynetdicom's events.

        Raises:
            OSError: the address is taken, or isn't this machine's.
        """
        self.limits, self._hosts, self._context = limits, hosts, context
        super().__init__(ae, address, ae.ae_title, ae.supported_contexts, None, handlers, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse other hosts, and connections by the hundred, before a byte is read."""
        host = plain_host(client_address[0])
        if host not in self._hosts:
            LOGGER.warning("a connection from %s was refused: it is no peer's", host)
            return False
        # pynetdicom itself refuses those between once and twice as many, in DICOM's words.
        return len(self.active_associations) < 2 * self.limits.associations

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, and never wait for ever."""
        request.settimeout(self.limits.network_s)
        if self._context is not None:
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection, in one line."""
        error = sys.exc_info()[1]
        LOGGER.warning("the connection from %s ended: %s", client_address[0], error)

    def shutdown(self) -> None:
        """Take no more connections."""
        # Not its own, which takes the server out of a list that it was never put on.
        BaseServer.shutdown(self)
        self.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert isinstance(self.socket, socket.socket)
        return int(self.socket.getsockname()[1])
