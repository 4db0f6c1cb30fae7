"""TLS for both directions: 1.2 at least, and each side shows a certificate of the CA."""

from __future__ import annotations

import ssl

from common.errors import InputError
from serving.dicom_node.settings import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """Make the context for peers that connect.

    Raises:
        InputError: a file can't be read, or they don't belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Make the context for peers to connect to; their certificate has to be of their host.

    Raises:
        InputError: a file can't be read, or they don't belong together.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _filled(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in (tls.certificate, tls.key, tls.ca):
        if not file.is_file():
            raise InputError(f"tls: {file} is not there.")
    try:
        # An empty password: else OpenSSL asks for it, at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            f"tls: {tls.certificate} and {tls.key} are no certificate with its key, without a "
            f"password: {error}."
        ) from error
    try:
        context.load_verify_locations(tls.ca)
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"tls: {tls.ca} holds no certificates in PEM: {error}.") from error
    return context
