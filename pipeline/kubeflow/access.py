"""The access to the API server: the endpoint, the bearer token, the CA."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from common.errors import InputError

TOKEN_VARIABLE: Final = "CXR_KFP_TOKEN"
_HIDDEN: Final = "[token]"


class Token:
    """A bearer token, from a file that is read anew each time or from the environment.

    Tokens that Kubernetes projects into a pod expire within the hour; runs take longer.
    """

    def __init__(self, source: str, value: str, file: Path | None = None) -> None:
        """Keep the token.

        Args:
            source: what to call it in messages.
            value: the token.
            file: where a newer one may lie.
        """
        self.source = source
        self._value = value
        self._file = file
        self._used = {value}

    def __repr__(self) -> str:
        """Say where the token is from, and never what it is."""
        return f"Token({self.source!r})"

    def value(self) -> str:
        """Read the newest token there is; where the file can't be read, return the one before."""
        if self._file is not None:
            try:
                self._value = _checked(self._file.read_text(), self.source)
            except (OSError, ValueError):
                return self._value
            self._used.add(self._value)
        return self._value

    def hidden_in(self, text: str) -> str:
        """Return the text without any token that was ever sent."""
        for value in self._used:
            text = text.replace(value, _HIDDEN)
        return text


@dataclass(frozen=True)
class Access:
    """All that a client needs to talk to one API server."""

    endpoint: str
    token: Token | None = None
    ca_cert: Path | None = None

    def hidden_in(self, text: str) -> str:
        """Return the text without the token, however it came there."""
        return self.token.hidden_in(text) if self.token else text


def access(endpoint: str, token_file: Path | None = None, ca_cert: Path | None = None) -> Access:
    """Check what the user gave, before anything is sent.

    Args:
        endpoint: URL of the API server, or of what stands before it.
        token_file: with the bearer token; else the environment's CXR_KFP_TOKEN, else none.
        ca_cert: PEM file with the certificates to trust, for https.

    Raises:
        InputError: what is wrong and what to do. A token never goes over plain http to
            another machine.
    """
    parts = _parts(endpoint)
    token = _token(token_file)
    if token and parts.scheme != "https" and not _loopback(parts.hostname or ""):
        raise InputError(
            f"endpoint: {endpoint} is plain http, so the token from {token.source} would be "
            "readable on the way. Give an https:// address, or forward a port to 127.0.0.1 "
            "(kubectl port-forward)."
        )
    if ca_cert is not None:
        _check_ca(ca_cert, parts)
    return Access(endpoint.rstrip("/"), token, ca_cert)


def _parts(endpoint: str) -> SplitResult:
    example = "Give it as https://kubeflow.example/pipeline or http://127.0.0.1:8888."
    try:
        parts = urlsplit(endpoint)
        # A port that is no number shows only when it's asked for.
        _ = parts.port
    except ValueError as error:
        raise InputError(f"endpoint: this is no URL ({error}). {example}") from error
    if "@" in parts.netloc:
        # Not repeated: it may hold a password.
        raise InputError(
            f"endpoint: leave user names and passwords out of the URL; a token comes from "
            f"{TOKEN_VARIABLE} or --token-file."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"endpoint: {endpoint!r} is no http or https URL. {example}")
    if parts.query or "#" in endpoint:
        raise InputError(
            f"endpoint: {endpoint!r} is an address of a page; leave out what follows ? or #."
        )
    return parts


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(token_file: Path | None) -> Token | None:
    if token_file is None:
        text = os.environ.get(TOKEN_VARIABLE)
        source = f"the environment variable {TOKEN_VARIABLE}"
        return Token(source, _checked(text, source)) if text else None
    source = f"the file {token_file}"
    try:
        text = token_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"token-file: {token_file} can't be read: {reason}.") from error
    return Token(source, _checked(text, source), token_file)


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"token: {source} holds no bearer token; it must be one line of ASCII without blanks."
        )
    return token


def _check_ca(ca_cert: Path, parts: SplitResult) -> None:
    if parts.scheme != "https":
        raise InputError("ca-cert: it is for https endpoints; leave it out for http.")
    if not ca_cert.is_file():
        raise InputError(f"ca-cert: {ca_cert} is no file; give one with PEM certificates.")
    try:
        ssl.create_default_context(cafile=str(ca_cert))
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"ca-cert: {ca_cert} holds no PEM certificates.") from error
