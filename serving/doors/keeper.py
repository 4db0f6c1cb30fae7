"""The decision who may ask now, whatever carries the request."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from grpc import StatusCode

from common.errors import InputError
from serving.doors.audit import Audit
from serving.doors.tls import TlsConfig, read_tls_config
from serving.doors.tokens import Tokens
from serving.protocol.status import ServingError
from serving.settings import DoorSettings

NOBODY: Final = "-"
_TLS_FLAG: Final = "--insecure-without-tls"
_WHO_FLAG: Final = "--insecure-without-authentication"


# One client leaves room for others in a queue of 256.
DEFAULT_CLIENT_REQUESTS: Final = 64


class Keeper:
    """Knows tokens and clients. Any thread may ask it.

    Attributes:
        tls: for both APIs; None without.
        audit: of requests; None without.
    """

    def __init__(self, settings: DoorSettings, host: str) -> None:
        """Read the files.

        Args:
            settings: of the doors.
            host: that the server listens on.

        Raises:
            InputError: a file is wrong, or the host asks for more than is set.
        """
        outside = not is_loopback(host)
        self.tls: TlsConfig | None = None
        if settings.ssl_config_file is not None:
            self.tls = read_tls_config(settings.ssl_config_file)
        self._tokens = Tokens(settings.token_file) if settings.token_file else None
        self._verified = self.tls is not None and self.tls.client_verify
        if outside:
            _demand(settings, host, tls=self.tls is not None, known=self.asks_who)
        audited = outside or settings.audit_file is not None
        self.audit = Audit(settings.audit_file) if audited else None
        default = DEFAULT_CLIENT_REQUESTS if outside else 0
        given = settings.client_requests
        self._most = default if given is None else given
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def asks_who(self) -> bool:
        """The answer to whether a client has to say who it is."""
        return self._tokens is not None or self._verified

    def who(self, authorization: str, certificate: str | None) -> str:
        """Say who asks.

        Args:
            authorization: the header; empty where there is none.
            certificate: subject of the client's, which TLS has verified; None where there is none.

        Raises:
            ServingError: a token is asked for, and it is none that is known.
        """
        if self._tokens is not None:
            name = self._tokens.name_of(authorization)
            if name is None:
                what = "is not known" if authorization else "is missing"
                raise ServingError(
                    StatusCode.UNAUTHENTICATED,
                    f"The token {what}: send the header Authorization: Bearer TOKEN",
                )
            return f"token {name}"
        if self._verified and certificate:
            return f"certificate {certificate}"
        return NOBODY

    @contextmanager
    def counted(self, client: str) -> Iterator[None]:
        """Count a request as under way until the block ends.

        Args:
            client: whoever it is, or else its address.

        Raises:
            ServingError: it has too many under way.
        """
        if not self._most:
            yield
            return
        with self._lock:
            if self._under_way[client] >= self._most:
                raise ServingError(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"{self._most} requests of this client are under way; try again later",
                )
            self._under_way[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[client] -= 1
                if not self._under_way[client]:
                    del self._under_way[client]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _demand(settings: DoorSettings, host: str, *, tls: bool, known: bool) -> None:
    missing = []
    if not tls and not settings.without_tls:
        missing.append(f"TLS (give --ssl-config-file, or {_TLS_FLAG} to do without)")
    if not known and not settings.without_authentication:
        missing.append(
            "clients that say who they are (give --token-file, or client_verify in the "
            f"--ssl-config-file, or {_WHO_FLAG} to do without)"
        )
    if missing:
        asked = ", and for ".join(missing)
        raise InputError(f"host: others than this machine reach {host}; that asks for {asked}.")
