"""The meaning of a REST path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from serving.protocol.status import ServingError, invalid

Method = Literal["predict", "classify", "regress"]

# TensorFlow Serving matches without regard to case and the whole path; `[0-9]`, since its
# engine's \d knows ASCII alone.
_MODEL: Final = r"/v1/models/(?P<name>[^/:]+)"
_VERSION: Final = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION: Final = re.compile(
    rf"{_MODEL}{_VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_STATUS: Final = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<subresource>metadata))?", re.IGNORECASE
)
# Of a URI's path and query (RFC 3986); TensorFlow Serving's HTTP library takes no others.
_URI: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?#]|%[0-9A-Fa-f]{2})*")
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")
_METADATA: Final = "metadata"
# Though paths are matched without regard to case, these are compared with it.
_METHODS: Final[dict[str, Method]] = {
    "predict": "predict",
    "classify": "classify",
    "regress": "regress",
}
_MAX_VERSION: Final = 2**63 - 1


@dataclass(frozen=True)
class ModelRef:
    """A model, and one of its versions.

    Attributes:
        name: of the model.
        version: its number; None where none is named.
        label: of a version; None where none is named. Never beside a version.
    """

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class PredictionTarget:
    """A POST's."""

    model: ModelRef
    method: Method


@dataclass(frozen=True)
class StatusTarget:
    """A GET's.

    Attributes:
        model: which.
        metadata: whether its signatures are asked for, rather than its state.
    """

    model: ModelRef
    metadata: bool


def parse_path(http_method: str, path: str) -> PredictionTarget | StatusTarget:
    """Read a path as it came, percent signs included.

    Args:
        http_method: upper case.
        path: from the first slash to the end, since TensorFlow Serving matches the query, too.

    Raises:
        ServingError: nothing is served there by that method.
    """
    pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(http_method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None or _URI.fullmatch(path) is None:
        raise _malformed(http_method, path)
    groups = match.groupdict()
    if groups["name"] is None:
        raise invalid("Missing model name in request.")
    model = ModelRef(
        _unquoted(groups["name"]) or "",
        _version_number(groups["version"]),
        _unquoted(groups["label"]),
    )
    if http_method == "POST":
        if groups["method"] not in _METHODS:
            raise _malformed(http_method, path)
        return PredictionTarget(model, _METHODS[groups["method"]])
    return StatusTarget(model, metadata=groups["subresource"] == _METADATA)


def without_origin(target: str) -> str:
    """Return a request's target without `http://host`, with which proxies may begin it."""
    return _ORIGIN.sub("", target, count=1) if not target.startswith("/") else target


def _malformed(http_method: str, path: str) -> ServingError:
    return invalid(f"Malformed request: {http_method} {path}")


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text, errors="surrogateescape")


def _version_number(text: str | None) -> int | None:
    if text is None:
        return None
    if int(text) > _MAX_VERSION:
        raise invalid(f"Failed to convert version: {text} to numeric.")
    return int(text)
