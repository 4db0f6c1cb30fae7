"""PNG. The examples hold the file as it is, or with its values spread over all of 16 bits."""

from __future__ import annotations

from models.deep_images import PNG_HEADER, PNG_SIGNATURE, UnusableImageError, scaled
from models.rendering import DEFAULT, Rendering

FORMAT = "PNG"
SUFFIXES: tuple[str, ...] = (".png",)
MAGIC = (0, PNG_SIGNATURE)
END = b"IEND\xaeB`\x82"


def for_example(content: bytes, bits_stored: int, _: Rendering = DEFAULT) -> bytes:
    """Scale it, where that is asked for."""
    return scaled(content, bits_stored)


def conversion() -> str:
    """Return that nothing is converted."""
    return ""


def header(content: bytes) -> tuple[int, int, int]:
    """Read (width, height, bits a sample). Pillow isn't used, as it has limits of its own."""
    if len(content) < PNG_HEADER.size:
        raise UnusableImageError("truncated: the file ends inside the PNG header")
    _, _, chunk, width, height, bit_depth = PNG_HEADER.unpack_from(content)
    if chunk != b"IHDR":
        raise UnusableImageError("damaged: the PNG does not start with its header")
    return width, height, bit_depth


def identity(_: bytes, __: bytes, ___: Rendering) -> str:
    """Return that the file's digest counts."""
    return ""
