"""JPEG → PNG: baseline, extended sequential and progressive, 8 bits a sample, grey or colour.

Of a colour image the luminance is kept, which is what grey levels were saved as. It is turned as
EXIF asks, since that is how every viewer shows it, and how the reader who labelled it saw it.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import PIL
from PIL import Image, features
from PIL.JpegImagePlugin import JpegImageFile

from models.conversion.jpeg_segments import START_OF_SCAN, segments
from models.conversion.stored_png import stored_png
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering

FORMAT = "JPEG"
SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".jpe", ".jfif")
MAGIC = (0, b"\xff\xd8\xff")
END = b"\xff\xd9"
# Raised whenever the same file and the same decoder give other pixels.
_VERSION: Final = 1

# ITU-T T.81, table B.1: what starts a frame, and how it is coded.
_READ_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded"),
    0xCB: "lossless",
    **dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical"),
    0xF7: "JPEG-LS",
}
_EXIF: Final = 0xE1
# APP1 to APP13, APP15, comments: nothing that a decoder needs (APP0 is JFIF's, APP14 Adobe's).
_NOTES: Final = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
_BITS: Final = 8
# A progressive image has some ten scans, each of which costs as much as the image has pixels. Its
# other segments may hold the same two bytes by chance.
_MAX_SCANS: Final = 256
# EXIF 2.32, 4.6.5: tag Orientation, type SHORT; and what has to be done for each of its values.
_ORIENTATION: Final = (0x0112, 3)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = 5


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    bits: int
    components: int
    orientation: int


@cache
def version() -> str:
    """Name the module's version, and the decoder's."""
    codec = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    number = features.version("libjpeg_turbo") or features.version("jpg")
    return f"JPEG {_VERSION} (Pillow {PIL.__version__}, {codec} {number})"


def header(content: bytes) -> tuple[int, int, int]:
    """Read (width, height, bits a sample), as the image is shown.

    Raises:
        UnusableImageError: there is no such header, or it is of a kind that isn't read.
    """
    frame = _frame(content)
    size = (frame.width, frame.height)
    width, height = size[::-1] if frame.orientation >= _ON_ITS_SIDE else size
    return width, height, frame.bits


def to_png(content: bytes, _: Rendering = DEFAULT) -> bytes:
    """Convert a whole file; a JPEG leaves nothing open.

    Raises:
        UnusableImageError: it is damaged, or of a kind that isn't read.
    """
    frame = _frame(content)
    if content.count(bytes((0xFF, START_OF_SCAN))) > _MAX_SCANS:
        raise UnusableImageError(f"a JPEG of more than {_MAX_SCANS} scans: save it anew")
    try:
        # Not Image.open, which has a limit of its own for pixels. Ours was asked before.
        image: Image.Image = JpegImageFile(io.BytesIO(_without_notes(content)))
        # The luminance alone: neither colours nor their enlargement are computed.
        image.draft("L", None)
        image.load()
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        cut = END not in content or "truncated" in str(error)
        damage = "truncated: the JPEG ends too early" if cut else "damaged JPEG data"
        raise UnusableImageError(f"cannot be decoded: {damage}") from error
    if image.mode != "L":
        image = image.convert("L")
    if frame.orientation in _TURNS:
        image = image.transpose(_TURNS[frame.orientation])
    return stored_png(np.asarray(image))


def _frame(content: bytes) -> _Frame:
    orientation = 1
    for marker, _, body in segments(content):
        if marker == _EXIF and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        elif marker in _OTHER_FRAMES:
            kind = _OTHER_FRAMES[marker]
            raise UnusableImageError(
                f"a JPEG of a kind that isn't read ({kind}): save it as baseline or progressive"
            )
        elif marker in _READ_FRAMES:
            if len(body) < 6:
                break
            bits, height, width, components = struct.unpack_from(">BHHB", body)
            return _checked(_Frame(width, height, bits, components, orientation))
        elif marker == START_OF_SCAN:
            raise UnusableImageError("damaged: the JPEG has no header with its size")
    raise UnusableImageError("truncated: the file ends inside the JPEG header")


def _checked(frame: _Frame) -> _Frame:
    if frame.bits != _BITS:
        raise UnusableImageError(
            f"a JPEG of {frame.bits} bits a sample, and only 8 are read: save it as 16-bit PNG"
        )
    if frame.components == 4:
        raise UnusableImageError(
            "a JPEG of four colours (CMYK, for print), whose grey levels depend on a press: save "
            "it as grey or RGB"
        )
    if frame.components not in (1, 3):
        raise UnusableImageError(f"damaged: a JPEG of {frame.components} components")
    if not frame.width or not frame.height:
        raise UnusableImageError(f"damaged: a JPEG of {frame.width}×{frame.height} pixels")
    return frame


def _without_notes(content: bytes) -> bytes:
    """Leave out what isn't needed to decode: thumbnails, profiles, EXIF, names of people.

    Pillow looks into all of these. What says how colours are coded stays (JFIF's and Adobe's).
    """
    kept = [content[:2]]
    for marker, start, body in segments(content):
        if marker == START_OF_SCAN:
            return b"".join((*kept, content[start:]))
        if marker not in _NOTES:
            kept.append(content[start : start + 4] + body)
    return content


def _orientation(tiff: bytes) -> int:
    """Read how the image is to be turned, 1 to 8; 1 where it isn't said, or not in a way to read.

    Args:
        tiff: TIFF 6.0, section 2: byte order, and a directory of 12-byte entries.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number)
            if (tag, kind) == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
