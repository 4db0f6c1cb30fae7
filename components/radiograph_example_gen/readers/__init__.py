"""The image formats that are read: a module of this package and an entry in `READERS` each.

The end of a file's name decides whether it is opened; its content decides which module reads it.
"""

from __future__ import annotations

from typing import Final, Protocol

from components.radiograph_example_gen.readers import dicom, jpeg, png
from models.deep_images import UnusableImageError
from models.rendering import Rendering
from schema.image_names import is_image

# Images that are there but not read, by the ends of their names, and by how they begin.
_UNREAD_SUFFIXES: Final = {
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".nii", ".nii.gz"), "NIfTI"),
    **{".bmp": "BMP", ".gif": "GIF", ".webp": "WebP", ".jp2": "JPEG 2000"},
}
_UNREAD_MAGIC: Final = {
    (0, b"GIF8"): "GIF",
    (0, b"BM"): "BMP",
    (0, b"II*\x00"): "TIFF",
    (0, b"MM\x00*"): "TIFF",
}


class Reader(Protocol):
    """The interface of a module that reads a format.

    Attributes:
        FORMAT: its name, as sentences call it.
        SUFFIXES: ends of its files' names, in lower case.
        MAGIC: where and how its files can be recognised: an offset, and the bytes there.
        END: what is in every whole file; empty where nothing is.
    """

    FORMAT: str
    SUFFIXES: tuple[str, ...]
    MAGIC: tuple[int, bytes]
    END: bytes

    def conversion(self) -> str:
        """Name what the pixels depend on beside the file: converter and decoder, with versions.

        Returns:
            Empty where the examples hold the file as it is, but for scaled values.
        """

    def header(self, content: bytes) -> tuple[int, int, int]:
        """Read (width, height, bits a sample) that a file claims; nothing is decoded.

        Raises:
            UnusableImageError: there is no such header.
        """

    def for_example(self, content: bytes, bits_stored: int, rendering: Rendering, /) -> bytes:
        """Return the image as the examples hold it, for Transform's decoder; no copy if it can.

        Args:
            content: of the file.
            bits_stored: of the detector, where there are 16 bits a sample and this was given; 0
                else.
            rendering: of DICOM.

        Raises:
            UnusableImageError: it can't be made.
        """

    def identity(self, content: bytes, shown: bytes, rendering: Rendering, /) -> str:
        """Name what an image is known by in splits, beside its file's digest.

        Args:
            content: of the file.
            shown: what `for_example` made of it.
            rendering: with which.

        Returns:
            A SHA-256 in hex digits; empty where the file's own counts.
        """


READERS: tuple[Reader, ...] = (png, jpeg, dicom)


def is_read(name: str) -> bool:
    """Return whether a file is an image to read, by its name."""
    return is_image(name, suffixes())


def is_picture(name: str) -> bool:
    """Return whether a file is an image, read or not, by its name."""
    return is_read(name) or unread_format(name) is not None


def suffixes() -> tuple[str, ...]:
    """List the ends of the names of images that are read."""
    return tuple(suffix for reader in READERS for suffix in reader.SUFFIXES)


def picture_suffixes() -> tuple[str, ...]:
    """List the ends of all images' names; the longer one first where one ends in another."""
    return tuple(sorted({*suffixes(), *_UNREAD_SUFFIXES}, key=len, reverse=True))


def formats(plural: str = "") -> str:
    """Say what is read, in words."""
    *others, last = (f"{reader.FORMAT}{plural}" for reader in READERS)
    return f"{', '.join(others)} or {last}"


def unread_format(name: str) -> str | None:
    """Return the format of an image that is not read, by its file's name; None for all else."""
    plain = name.casefold()
    return next((form for end, form in _UNREAD_SUFFIXES.items() if plain.endswith(end)), None)


def reader_of(content: bytes) -> Reader:
    """Find the reader of a file, whatever its name.

    TensorFlow's decoder takes JPEG, GIF and BMP under the name decode_png, too, so what is no entry
    of `READERS` must not get there.

    Raises:
        UnusableImageError: it is empty, or of no format that is read.
    """
    if not content:
        raise UnusableImageError("the file is empty (0 bytes)")
    for reader in READERS:
        offset, magic = reader.MAGIC
        if content.startswith(magic, offset):
            return reader
    others = (form for (at, magic), form in _UNREAD_MAGIC.items() if content.startswith(magic, at))
    other = next(others, "another kind of file")
    raise UnusableImageError(f"not a {formats()} but {other}, whatever its name")
