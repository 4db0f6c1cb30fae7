"""Lists of things left out, however long: some of it is held, the rest lies on the disk.

A table may have a million rows of no image. Each is a line of `left_out.csv`, and a third of a
kilobyte as Python's objects.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Final

from components.radiograph_example_gen.discovery import Kind, LeftOut

# Some megabytes. A folder without a large table never has more, and needs no file.
_HELD: Final = 20_000
# Bytes that are read at a time, for each part of the file when it is put in order.
_BLOCK: Final = 1 << 14
_KINDS: Final = {kind.value: kind for kind in Kind}


class Listed(Collection[LeftOut]):
    """A list of what was left out: one is added after the other, and it is read as often as wanted.

    The file has no name, so that it goes when this object does, however the process ends.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        """Begin without any.

        Args:
            in_order: it is read in the order of `LeftOut`; else in that of adding.
        """
        self._in_order = in_order
        self._held: list[LeftOut] = []
        self._file: IO[bytes] | None = None
        # Where each part of the file ends; in each, the order is that of reading.
        self._ends = [0]
        self._count = 0

    def add(self, item: LeftOut) -> None:
        """Take one."""
        self._held.append(item)
        self._count += 1
        if len(self._held) >= _HELD:
            self._write()

    def extend(self, items: Iterable[LeftOut]) -> None:
        """Take several."""
        for item in items:
            self.add(item)

    def done(self) -> Collection[LeftOut]:
        """Return what was added, when no more is: a tuple where all of it is held."""
        return self if self._file else tuple(self._ordered())

    def __len__(self) -> int:
        """Count them."""
        return self._count

    def __contains__(self, item: object) -> bool:
        """Look through all."""
        return any(item == each for each in self)

    def __iter__(self) -> Iterator[LeftOut]:
        """Read one after the other."""
        parts = [self._read(start, end) for start, end in itertools.pairwise(self._ends)]
        held = ([item.path, item.kind.value, item.reason] for item in self._ordered())
        # Lists compare as `LeftOut` does, and faster.
        merged = heapq.merge(*parts, held) if self._in_order else itertools.chain(*parts, held)
        for path, kind, reason in merged:
            yield LeftOut(path, _KINDS[kind], reason)

    def _ordered(self) -> list[LeftOut]:
        return sorted(self._held) if self._in_order else self._held

    def _write(self) -> None:
        if self._file is None:
            # Open as long as this object is.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        for item in self._ordered():
            line = json.dumps([item.path, item.kind.value, item.reason])
            self._file.write(f"{line}\n".encode("ascii"))
        self._file.flush()
        self._ends.append(self._file.tell())
        self._held = []

    def _read(self, start: int, end: int) -> Iterator[list[str]]:
        """Read a part of the file; several may be read by turns, which have no place in common."""
        assert self._file is not None
        rest = b""
        while start < end:
            block = os.pread(self._file.fileno(), min(_BLOCK, end - start), start)
            if not block:
                raise OSError("the temporary file of what is left out was cut short")
            start += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from map(json.loads, lines)


class _Joined(Collection[LeftOut]):
    """Some collections, one behind the other."""

    def __init__(self, parts: tuple[Collection[LeftOut], ...]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, item: object) -> bool:
        return any(item in part for part in self._parts)

    def __iter__(self) -> Iterator[LeftOut]:
        return itertools.chain.from_iterable(self._parts)


def kept(items: Iterable[LeftOut], *, in_order: bool = False) -> Collection[LeftOut]:
    """Keep what is read once: a tuple where it is little.

    Args:
        items: read one at a time.
        in_order: sorted.
    """
    listed = Listed(in_order=in_order)
    listed.extend(items)
    return listed.done()


def joined(*parts: Collection[LeftOut]) -> Collection[LeftOut]:
    """Put collections one behind the other, without copying what lies on the disk."""
    if all(isinstance(part, tuple) for part in parts):
        return tuple(itertools.chain.from_iterable(parts))
    return _Joined(parts)
