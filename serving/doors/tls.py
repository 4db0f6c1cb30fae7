"""TLS by TensorFlow Serving's `--ssl_config_file`, for REST and gRPC.

The file is its SSLConfig in text form: PEM itself stands in it, and no names of files.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format

from common.compat import message_class
from common.errors import InputError

_PACKAGE: Final = "tensorflow.serving"
_MESSAGE: Final = "SSLConfig"
_STRINGS: Final = ("server_key", "server_cert", "custom_ca")
_VERIFY: Final = "client_verify"
_PEM: Final = "-----BEGIN "


@dataclass(frozen=True)
class TlsConfig:
    """The content of the file.

    Attributes:
        server_key: PEM.
        server_cert: PEM, with what is between it and the CA behind it.
        custom_ca: PEM of who signs clients' certificates; the system's authorities where empty.
        client_verify: whether a client has to have a certificate.
    """

    server_key: str = field(repr=False)
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False


def read_tls_config(file: Path) -> TlsConfig:
    """Read the file.

    Raises:
        InputError: it can't be read, is no SSLConfig, or holds no key with its certificate.
    """
    try:
        text = file.read_text(encoding="utf-8")
        message = text_format.Parse(text, _ssl_config()())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"ssl-config-file: {file} can't be read ({error}).") from error
    except text_format.ParseError as error:
        raise InputError(
            f"ssl-config-file: {file} is no SSLConfig in text form: {error}."
        ) from error
    for name in _STRINGS:
        value = getattr(message, name)
        if (value or name != "custom_ca") and _PEM not in value:
            raise InputError(
                f"ssl-config-file: {name} in {file} must be PEM itself "
                f"(-----BEGIN …), and no name of a file."
            )
    config = TlsConfig(*(getattr(message, name) for name in (*_STRINGS, _VERIFY)))
    rest_context(config)
    return config


def rest_context(config: TlsConfig) -> ssl.SSLContext:
    """Make the context for REST: TLS 1.2 at least.

    Raises:
        InputError: key and certificate don't belong together, or one can't be read.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL reads a key from a file alone. Nobody else may read this one, and it goes at once.
    with tempfile.NamedTemporaryFile(suffix=".pem") as chain:
        chain.write(f"{config.server_key}\n{config.server_cert}\n".encode())
        chain.flush()
        try:
            # An empty password: else OpenSSL asks for it, at the terminal.
            context.load_cert_chain(chain.name, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise InputError(
                "ssl-config-file: server_key and server_cert are no certificate with its key, "
                f"without a password: {error}."
            ) from error
    try:
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(f"ssl-config-file: custom_ca holds no certificates: {error}.") from error
    if config.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def grpc_credentials(config: TlsConfig) -> grpc.ServerCredentials:
    """Make the credentials for gRPC."""
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None if config.client_verify else None,
        require_client_auth=config.client_verify,
    )


def _ssl_config() -> Any:
    """Return the message's class, which tensorflow-serving-api doesn't bring along."""
    described = descriptor_pb2.FileDescriptorProto(
        name="cxr_tfx/ssl_config.proto", package=_PACKAGE, syntax="proto3"
    )
    message = described.message_type.add(name=_MESSAGE)
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate((*_STRINGS, _VERIFY), start=1):
        kind = kinds.TYPE_BOOL if name == _VERIFY else kinds.TYPE_STRING
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(described.SerializeToString())
    return message_class(pool.FindMessageTypeByName(f"{_PACKAGE}.{_MESSAGE}"))
