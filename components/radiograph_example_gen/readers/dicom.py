"""DICOM. The examples hold the PNG that `models.conversion` makes of it."""

from __future__ import annotations

from models.conversion.dicom import FORMAT, MAGIC, SUFFIXES, header, identity, to_png
from models.conversion.dicom import version as conversion
from models.rendering import DEFAULT, Rendering

__all__ = ["END", "FORMAT", "MAGIC", "SUFFIXES", "conversion", "for_example", "header", "identity"]

END = b""


def for_example(content: bytes, _: int = 0, rendering: Rendering = DEFAULT) -> bytes:
    """Convert it; what BitsStored says is heeded there."""
    return to_png(content, rendering)
