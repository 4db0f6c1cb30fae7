"""The segments in front of a JPEG's first scan (ITU-T T.81, B.1.1; JPEG-LS has the same)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

START_OF_SCAN: Final = 0xDA
# Markers without a length behind them: TEM, RST0 to RST7, SOI.
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, start and body of each segment, the first scan's header being the last.

    Args:
        content: of a JPEG, from its first byte on.
    """
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            # What Pillow and libjpeg pass over, too.
            at += 1
            continue
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x00 or marker in _BARE:
            at += 2
        else:
            length = int.from_bytes(content[at + 2 : at + 4], "big")
            yield marker, at, content[at + 4 : at + 2 + length]
            if marker == START_OF_SCAN:
                return
            at += 2 + max(length, 2)
