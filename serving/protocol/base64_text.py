"""Base64 as Abseil's `Base64Unescape` takes it, which TensorFlow Serving calls."""

from __future__ import annotations

import binascii
import re
from typing import Final

# Abseil passes over ASCII's white space wherever it stands.
_WHITE_SPACE: Final = b" \t\n\v\f\r"
_TEXT: Final = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")
# Characters behind the last whole group of four -> padding that they may have.
_PADDING: Final = {0: 0, 2: 2, 3: 1}
_URL_SAFE: Final = re.compile(r"[-_]")


class Base64Error(ValueError):
    """Text that is no base64; the message says what to do."""


def decode(text: str) -> bytes:
    """Decode standard base64; its padding may be `.` or left out, white space doesn't count.

    Raises:
        Base64Error: it is none.
    """
    content = text.encode("utf-8", errors="surrogateescape").translate(None, _WHITE_SPACE)
    match = _TEXT.fullmatch(content)
    if match is None:
        raise Base64Error(_advice(text))
    digits, padding = match.groups()
    rest = len(digits) % 4
    if rest not in _PADDING:
        raise Base64Error("its end is missing, or a character of it")
    if len(padding) not in (0, _PADDING[rest]):
        raise Base64Error(f"it ends in {len(padding)} '=', and {_PADDING[rest]} belong there")
    return binascii.a2b_base64(digits + b"=" * _PADDING[rest])


def _advice(text: str) -> str:
    if text.startswith("data:"):
        return "it is a data URI; send only what stands behind its comma"
    if re.fullmatch(r"[-\w+/=.\s]*", text, re.ASCII) and _URL_SAFE.search(text):
        return "it is URL-safe base64; write + for each -, and / for each _"
    if "%" in text:
        return "its characters are percent-encoded; send them as they are"
    return "it has characters that base64 doesn't have"
