"""The segments in front of a JPEG's first scan (ITU-T T.81, B.1.1; JPEG-LS has the same)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

START_OF_SCAN: Final = 0xDA
# A marker with a length behind it: none are TEM, RST0 to RST7, SOI, and what fills up. What is no
# marker is passed over, as Pillow and libjpeg do; by bytes in Python, 64 MB of it took seconds.
_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")


def segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, start and body of each segment, the first scan's header being the last.

    Args:
        content: of a JPEG, from its first byte on.
    """
    at = 2
    while found := _MARKER.search(content, at):
        at, marker = found.start(), content[found.start() + 1]
        if at + 4 > len(content):
            return
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, at, content[at + 4 : at + 2 + length]
        if marker == START_OF_SCAN:
            return
        at += 2 + max(length, 2)
