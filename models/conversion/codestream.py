"""The size of a compressed image, by its own header, before anything is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from models.conversion.jpeg_segments import segments
from models.deep_images import UnusableImageError

JPEG_START: Final = b"\xff\xd8"
JPEG_2000_START: Final = b"\xff\x4f\xff\x51"
# SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1); SOF55 is JPEG-LS (T.87, C.1.1).
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
# Behind SOC and the marker SIZ (ITU-T T.800, A.5.1): length, capabilities, image's and offset's
# size, tile's size and offset, components; then of the first component sign and bits.
_SIZ: Final = struct.Struct(">HH8IHB")
# In front of a code stream there may be the boxes of a JP2 file.
_LOOK: Final = 4096


@dataclass(frozen=True)
class Codestream:
    """The size of a compressed image.

    Attributes:
        width: pixels.
        height: pixels.
        bits: a sample.
        components: colours.
        signed: whether its values are; None where the format doesn't say so.
    """

    width: int
    height: int
    bits: int
    components: int
    signed: bool | None = None


def jpeg(stream: bytes) -> Codestream:
    """Read what a JPEG of any kind, or a JPEG-LS, says of itself.

    Raises:
        UnusableImageError: there is no frame's header in it.
    """
    if stream.startswith(JPEG_START):
        for marker, _, body in segments(stream):
            if marker in _FRAMES and len(body) >= 6:
                bits, height, width, components = struct.unpack_from(">BHHB", body)
                return Codestream(width, height, bits, components)
    raise UnusableImageError("damaged: the JPEG in the DICOM has no header with its size")


def jpeg_2000(stream: bytes) -> Codestream:
    """Read what a JPEG 2000, HTJ2K included, says of itself.

    Raises:
        UnusableImageError: there is no such header in it.
    """
    at = stream.find(JPEG_2000_START, 0, _LOOK)
    start = at + len(JPEG_2000_START)
    if at < 0 or len(stream) < start + _SIZ.size:
        raise UnusableImageError("damaged: the JPEG 2000 in the DICOM has no header with its size")
    _, _, right, bottom, left, top, _, _, _, _, components, sign_and_bits = _SIZ.unpack_from(
        stream, start
    )
    signed, bits = bool(sign_and_bits & 0x80), (sign_and_bits & 0x7F) + 1
    return Codestream(right - left, bottom - top, bits, components, signed)
