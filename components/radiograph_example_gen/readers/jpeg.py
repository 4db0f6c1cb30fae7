"""JPEG. The examples hold the PNG that `models.conversion` makes of it."""

from __future__ import annotations

from models.conversion.jpeg import END, FORMAT, MAGIC, SUFFIXES, header, to_png
from models.conversion.jpeg import version as conversion
from models.rendering import DEFAULT, Rendering

__all__ = ["END", "FORMAT", "MAGIC", "SUFFIXES", "conversion", "for_example", "header", "identity"]


def for_example(content: bytes, _: int = 0, __: Rendering = DEFAULT) -> bytes:
    """Convert it; 8 bits need no scaling."""
    return to_png(content)


def identity(_: bytes, __: bytes, ___: Rendering) -> str:
    """Return that the file's digest counts."""
    return ""
