"""Images of other formats → the PNG that everything behind takes: the one way, for all.

RadiographExampleGen, `cxr predict` and the server call the same functions, so that an image looks
to a served model as it did in training. What comes out is a grey 8-bit PNG, which the graph of
`models.preprocessing` decodes as any other. A PNG stays as it is.

A format is a module of this package, and an entry in `CONVERTERS`.
"""

from __future__ import annotations

from typing import Final, Protocol

from models import deep_images
from models.conversion import dicom, jpeg
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering
from schema import contract


class Converter(Protocol):
    """The interface of a module that converts a format.

    Attributes:
        FORMAT: its name, as sentences call it.
        SUFFIXES: ends of its files' names, in lower case.
        MAGIC: where and how its files can be recognised: an offset, and the bytes there.
    """

    FORMAT: str
    SUFFIXES: tuple[str, ...]
    MAGIC: tuple[int, bytes]

    def version(self) -> str:
        """Name everything that the pixels depend on: the module's version, and the decoder's."""

    def header(self, content: bytes) -> tuple[int, int, int]:
        """Read (width, height, bits a sample) that a file claims; nothing is decoded.

        Raises:
            UnusableImageError: there is no such header, or it is of a kind that isn't read.
        """

    def to_png(self, content: bytes, rendering: Rendering, /) -> bytes:
        """Convert a whole file.

        Args:
            content: of the file.
            rendering: of DICOM.

        Raises:
            UnusableImageError: it is damaged, or of a kind that isn't read.
        """


CONVERTERS: Final[tuple[Converter, ...]] = (jpeg, dicom)


def converter_of(content: bytes) -> Converter | None:
    """Find who converts a file, by its content; None for a PNG, and for what nobody converts."""
    for converter in CONVERTERS:
        offset, magic = converter.MAGIC
        if content.startswith(magic, offset):
            return converter
    return None


def converted(
    content: bytes, max_pixels: int = contract.MAX_PIXELS, rendering: Rendering = DEFAULT
) -> bytes:
    """Convert an image, where somebody does; return all else as it is.

    Args:
        content: of an image file of any kind.
        max_pixels: largest width × height that is decoded.
        rendering: of DICOM, as in training.

    Raises:
        UnusableImageError: it is damaged, too large, or of a kind that isn't read.
    """
    converter = converter_of(content)
    if converter is None:
        return content
    width, height, _ = converter.header(content)
    if width * height > max_pixels:
        raise UnusableImageError(f"claims {width}×{height} pixels, more than {max_pixels}")
    return converter.to_png(content, rendering)


def prepared(
    content: bytes,
    bits_stored: int,
    max_pixels: int = contract.MAX_PIXELS,
    rendering: Rendering = DEFAULT,
) -> bytes:
    """Return an image as a model may see it: converted, and scaled where that is asked for.

    Args:
        content: of an image file of any kind.
        bits_stored: as `models.deep_images.scaled` takes it.
        max_pixels: as `converted` takes it.
        rendering: likewise.

    Raises:
        UnusableImageError: it can't be converted or scaled, or little but black would be left.
    """
    return deep_images.prepared(converted(content, max_pixels, rendering), bits_stored)
