"""Radiographs that are one of a kind, so that each request can be found in the log."""

from __future__ import annotations

import hashlib
import itertools
import struct
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.phantoms import write_phantoms

_IEND_BYTES: Final = 12
_SIDE: Final = 128


@dataclass(frozen=True)
class Image:
    """A PNG that no other request holds.

    Attributes:
        content: of the file.
        base: index of the phantom that it shows.
    """

    content: bytes
    base: int

    @property
    def sha256(self) -> str:
        """Return the digest by which the log names it, in hex."""
        return hashlib.sha256(self.content).hexdigest()


class Images:
    """Hands out phantoms, each with a number in a text chunk. Threads may share it."""

    def __init__(self) -> None:
        """Draw the phantoms."""
        with tempfile.TemporaryDirectory() as folder:
            write_phantoms(Path(folder), per_class=(2, 2, 2), size=_SIDE, seed=0)
            self._bases = [file.read_bytes() for file in sorted(Path(folder).rglob("*.png"))]
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of phantoms."""
        return len(self._bases)

    def next(self) -> Image:
        """Return an image that has not been handed out before."""
        with self._lock:
            number = next(self._numbers)
        base = number % len(self._bases)
        return Image(_with_text(self._bases[base], f"soak\0{number}".encode()), base)


def _with_text(png: bytes, text: bytes) -> bytes:
    body = b"tEXt" + text
    chunk = struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_IEND_BYTES] + chunk + png[-_IEND_BYTES:]
