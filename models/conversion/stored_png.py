"""Grey levels → a PNG without compression.

To compress takes longer than to decode most of what comes here, and whoever reads the PNG would
have to undo it again. The bytes depend on the pixels alone: no version of zlib has a say in them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.deep_images import PNG_SIGNATURE

# Deflate's stored blocks hold so many bytes: RFC 1951, 3.2.4.
_BLOCK: Final = 65535
# Deflate, window of 32 KB, no compression: RFC 1950, 2.2.
_ZLIB_HEADER: Final = b"\x78\x01"
# Where the first block begins: behind the signature, IHDR of 25 bytes, and IDAT's head. Each
# begins with whether it is the last, and its length, twice.
_FIRST_BLOCK: Final = len(PNG_SIGNATURE) + 25 + 8 + len(_ZLIB_HEADER)
_BLOCK_HEAD: Final = 5


def stored_png(grey: NDArray[np.uint8]) -> bytes:
    """Write an 8-bit grey PNG (PNG specification, 5.3, 10.1 and 11.2).

    Args:
        grey: [height, width], neither of them 0.
    """
    height, width = grey.shape
    # Each row starts with its filter: 0, none.
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = grey
    data = rows.data.cast("B")
    parts: list[bytes | memoryview] = [_ZLIB_HEADER]
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        last = start + _BLOCK >= len(data)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack(">I", zlib.adler32(data)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (*_chunk(b"IHDR", [header]), *_chunk(b"IDAT", parts), *_chunk(b"IEND", []))
    # The pixels are copied here alone: they are most of what an image costs.
    return b"".join((PNG_SIGNATURE, *chunks))


def grey_of(content: bytes) -> NDArray[np.uint8]:
    """Read what `stored_png` wrote, without decoding: its pixels lie there as they are.

    Args:
        content: of `stored_png`; another program's may have filters.

    Returns:
        uint8 [height, width].
    """
    width, height = struct.unpack_from(">II", content, len(PNG_SIGNATURE) + 8)
    size = height * (width + 1)
    rows = np.empty(size, np.uint8)
    for start in range(0, size, _BLOCK):
        piece = rows[start : start + _BLOCK]
        at = _FIRST_BLOCK + start + (start // _BLOCK + 1) * _BLOCK_HEAD
        piece[:] = np.frombuffer(content, np.uint8, len(piece), at)
    # In one piece: Pillow takes milliseconds to copy what has gaps, NumPy a tenth of one.
    return np.ascontiguousarray(rows.reshape(height, width + 1)[:, 1:])


def _chunk(kind: bytes, body: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    checksum = zlib.crc32(kind)
    for part in body:
        checksum = zlib.crc32(part, checksum)
    length = struct.pack(">I", sum(map(len, body)))
    return [length, kind, *body, struct.pack(">I", checksum)]
