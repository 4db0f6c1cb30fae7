"""Cleans what lies around the pixels: bits above them, bytes behind them, comments of encoders.

The pixels themselves stay, to the last bit; a compressed image isn't compressed again.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from models.conversion.codestream import JPEG_2000_START, JPEG_START
from models.conversion.jpeg_segments import START_OF_SCAN

# Of the image, in both.
_END: Final = b"\xff\xd9"
_SOT: Final = 0x90
# Comments, and applications' own segments, which may hold Exif data, thumbnails, whole profiles.
# The other three say how colours are stored: JFIF (0), JPEG-LS (8), Adobe (14).
_JPEG_TEXTS: Final = frozenset({0xFE, *range(0xE0, 0xF0)}) - {0xE0, 0xE8, 0xEE}
_J2K_TEXTS: Final = frozenset({0x64})
# Markers without a segment.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})


def clean_pixel_data(dataset: Dataset, syntax: UID, counts: Counter[str]) -> None:
    """Leave nothing in the pixel data but pixels.

    Args:
        dataset: whose PixelData is written anew.
        syntax: its transfer syntax.
        counts: to which is added what was found.

    Raises:
        ValueError: there are fewer pixels than the header says, or their stream is damaged.
    """
    if syntax.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        found = list(generate_frames(dataset.PixelData, number_of_frames=frames))
        if len(found) != frames:
            raise ValueError(f"holds {len(found)} frames, and its header says {frames}")
        cleaned = [without_texts(frame) for frame in found]
        counts["images with comments in the compressed pixels, removed"] += cleaned != found
        dataset.PixelData = encapsulate(cleaned)
        dataset["PixelData"].is_undefined_length = True
        return
    stored = bytes(dataset.PixelData)
    length = get_expected_length(dataset)
    if len(stored) < length:
        raise ValueError(f"is cut off: {len(stored)} bytes of pixels, and {length} are said")
    # One byte more makes the length even.
    counts["images with bytes behind the pixels, removed"] += len(stored) > length + 1
    pixels = _only_stored_bits(dataset, stored[:length], syntax)
    counts["images with bits above those stored, removed"] += pixels != stored[:length]
    dataset.PixelData = pixels + b"\0" * (length % 2)


def _only_stored_bits(dataset: Dataset, pixels: bytes, syntax: UID) -> bytes:
    """Clear the bits that aren't the pixels': old overlays were kept there."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16, 32) or stored >= allocated:
        return pixels
    low = int(dataset.get("HighBit", stored - 1)) + 1 - stored
    if low < 0 or low + stored > allocated:
        raise ValueError(f"says that {stored} bits end at bit {dataset.HighBit} of {allocated}")
    order = "<" if syntax.is_little_endian else ">"
    if dataset.PixelRepresentation:
        values = np.frombuffer(pixels, f"{order}i{allocated // 8}")
        # Up to the sign, and down again with it.
        up = allocated - low - stored
        kept = ((values << up) >> (up + low)) << low
    else:
        values = np.frombuffer(pixels, f"{order}u{allocated // 8}")
        kept = values & values.dtype.type(((1 << stored) - 1) << low)
    return kept.astype(values.dtype).tobytes()


def without_texts(frame: bytes) -> bytes:
    """Take comments and applications' segments out of a JPEG, JPEG-LS or JPEG 2000 stream.

    What stands behind its end goes, too.

    Args:
        frame: the stream; one of another kind stays as it is.

    Raises:
        ValueError: its segments are damaged, or it has no end.
    """
    if frame.startswith(JPEG_2000_START):
        texts, last = _J2K_TEXTS, _SOT
    elif frame.startswith(JPEG_START):
        texts, last = _JPEG_TEXTS, START_OF_SCAN
    else:
        return frame
    end = frame.rfind(_END)
    if end < 0:
        raise ValueError("is cut off: its compressed stream has no end")
    frame = frame[: end + len(_END)]
    kept = [part for marker, part in _segments(frame, last) if marker not in texts]
    # DICOM's fragments have an even length.
    made = frame[:2] + b"".join(kept)
    return made + b"\0" * (len(made) % 2)


def _segments(frame: bytes, last: int) -> Iterator[tuple[int, bytes]]:
    """Go through a stream's markers: (marker, its bytes); the last one with all behind it."""
    place = 2
    while True:
        start = place
        try:
            if frame[place] != 0xFF:
                raise ValueError("holds a damaged stream: a marker is missing")
            # More of these may stand in front of a marker.
            while frame[place] == 0xFF:
                place += 1
            marker = frame[place]
            if marker == last:
                yield marker, frame[start:]
                return
            place += 1
            if marker not in _ALONE:
                place += struct.unpack_from(">H", frame, place)[0]
        except (IndexError, struct.error):
            raise ValueError("holds a damaged stream: it ends before its pixels") from None
        yield marker, frame[start:place]
