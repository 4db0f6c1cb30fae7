"""Hints for bodies that are no JSON, put in front of TensorFlow Serving's own words."""

from __future__ import annotations

from typing import Final

from serving.protocol.status import ServingError

_SEND: Final = 'send JSON: {"instances": [{"b64": "…"}]}.'
_BEGINNINGS: Final = (
    (b"\x89PNG", f"The body is a PNG image; {_SEND}"),
    (b"\xff\xd8\xff", f"The body is a JPEG image; {_SEND}"),
    (b"\x1f\x8b", "The body is gzip; send the header Content-Encoding: gzip with it."),
    (b"\xff\xfe\x00\x00", "The body is UTF-32; send it as UTF-8."),
    (b"\x00\x00\xfe\xff", "The body is UTF-32; send it as UTF-8."),
    (b"\xff\xfe", "The body is UTF-16; send it as UTF-8."),
    (b"\xfe\xff", "The body is UTF-16; send it as UTF-8."),
    (b"{\x00", "The body is UTF-16; send it as UTF-8."),
    (b"\x00{", "The body is UTF-16; send it as UTF-8."),
    (b"\x00\x00\x00{", "The body is UTF-32; send it as UTF-8."),
)
_DICOM: Final = slice(128, 132)
_FORM: Final = "The body is a form; send the JSON itself, and no fields."


def with_hint(error: ServingError, body: bytes, content_type: str, encoding: str) -> ServingError:
    """Put in front of an error what the body is, where it can be told.

    Args:
        error: that the body isn't read for.
        body: of the request, inflated.
        content_type: its header; empty where there is none.
        encoding: the header Content-Encoding; empty where there is none.
    """
    hint = _hint(body, content_type, encoding)
    return ServingError(error.code, f"{hint} {error.message}") if hint else error


def _hint(body: bytes, content_type: str, encoding: str) -> str:
    if encoding and encoding.lower() != "identity" and "gzip" not in encoding.lower():
        shown = encoding.encode("unicode_escape").decode()[:50]
        return f"Content-Encoding {shown} is not inflated here; gzip is."
    for beginning, hint in _BEGINNINGS:
        if body.startswith(beginning):
            return hint
    if body[_DICOM] == b"DICM":
        return f"The body is a DICOM file; {_SEND}"
    if body.startswith(b"--") and b"\n" in body[:200]:
        return _FORM
    if content_type.lower().startswith("application/x-www-form-urlencoded") and b"=" in body:
        return _FORM
    return ""
