"""The client of a DICOMweb server: dicomweb-client, over a session that is held back."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient
from requests.adapters import HTTPAdapter

from common.errors import InputError
from serving.dicom_node.settings import NodeLimits, NodeSettings, Web
from serving.dicom_node.tls import client_context

_PIECE: Final = 1 << 16
# Beside an image: of its parts' headers, and for lists of instances.
_ROOM: Final = 1 << 20


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context says whom to trust; requests would put its own list beside it.
        conn.cert_reqs = "CERT_REQUIRED"


class BoundedSession(requests.Session):
    """A session without proxies, stored passwords or redirects, and with an end to each answer."""

    def __init__(self, most_bytes: int, context: ssl.SSLContext | None) -> None:
        """Make a session.

        Args:
            most_bytes: of an answer.
            context: of TLS, in place of the system's list of CAs.
        """
        super().__init__()
        self.trust_env = False
        self.max_redirects = 0
        self._most = most_bytes
        if context is not None:
            self.mount("https://", _Adapter(context))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and read no more of the answer than is allowed.

        Raises:
            requests.RequestException: there is no answer, or too much of it.
        """
        response = super().send(request, **(options | {"stream": True}))
        content = bytearray()
        try:
            for piece in response.iter_content(_PIECE):
                content += piece
                if len(content) > self._most:
                    raise requests.exceptions.ContentDecodingError(
                        f"an answer has more than {self._most} bytes"
                    )
        finally:
            response.close()
        # As requests itself keeps what it has read.
        response._content = bytes(content)
        return response


def authorization_of(file: Path | None) -> str | None:
    """Read the value of the header Authorization; None where no file is named.

    Raises:
        InputError: it can't be read, or is empty.
    """
    if file is None:
        return None
    try:
        value = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"authorization_file: {file} can't be read as ASCII.") from error
    if not value:
        raise InputError(f"authorization_file: {file} is empty.")
    return value


def web_client(settings: NodeSettings, web: Web, limits: NodeLimits) -> DICOMwebClient:
    """Make the client of a server.

    Raises:
        InputError: a file that the settings name can't be read.
    """
    context = None
    if settings.tls is not None:
        context = client_context(settings.tls)
    session = BoundedSession(limits.instance_bytes + _ROOM, context)
    authorization = authorization_of(web.authorization_file)
    if authorization is not None:
        session.headers["Authorization"] = authorization
    client = DICOMwebClient(web.url, session=session, timeout=limits.network_s)
    # The node has waits of its own, which a stop can end.
    client.set_http_retry_params(retry=False)
    return client
