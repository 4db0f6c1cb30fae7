"""A made-up format, as a module that reads it: a frame of some bytes around a PNG."""

from __future__ import annotations

from components.radiograph_example_gen.readers import png
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering

FORMAT = "FRAMED"
SUFFIXES: tuple[str, ...] = (".framed", ".frm")
MAGIC = (4, b"FRAME")
END = b""
_LENGTH = 9


def framed(content: bytes) -> bytes:
    """A file of this format."""
    return bytes(4) + b"FRAME" + content


def conversion() -> str:
    """Nothing is converted."""
    return ""


def header(content: bytes) -> tuple[int, int, int]:
    """What the PNG says."""
    if len(content) == _LENGTH:
        raise UnusableImageError("a frame around nothing")
    return png.header(content[_LENGTH:])


def for_example(content: bytes, bits_stored: int, _: Rendering = DEFAULT) -> bytes:
    """The PNG, without its frame."""
    return png.for_example(content[_LENGTH:], bits_stored)


identity = png.identity
