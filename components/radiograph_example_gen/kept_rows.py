"""Rows of a table that are kept as places in its file, and read again when somebody asks.

A table may have a million rows, most of them of no image. A place takes 24 bytes, and a row with
its cells as Python's objects a thousand.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Row = TypeVar("Row")
_UNSIGNED = "Q"


class KeptRows(Sequence[Row], Generic[Row]):
    """A sequence whose items are made anew each time; two of one place are equal, and not the same.

    Attributes:
        lines: of the records, counted from 1.
    """

    def __init__(self, content: bytes, read: Callable[[int, bytes], Row]) -> None:
        """Begin without any.

        Args:
            content: of the file.
            read: line and bytes of a record -> its row.
        """
        self._content, self._read = content, read
        self.lines, self._starts, self._ends = (array(_UNSIGNED) for _ in range(3))

    def add(self, line: int, start: int, end: int) -> None:
        """Take a record.

        Args:
            line: where it starts, counted from 1.
            start: its first byte.
            end: the byte behind its last.
        """
        self.lines.append(line)
        self._starts.append(start)
        self._ends.append(end)

    def __len__(self) -> int:
        """Count them."""
        return len(self.lines)

    def __iter__(self) -> Iterator[Row]:
        """Read one after the other."""
        return (self._at(place) for place in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Read one, or those of a slice."""
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else [self._at(n) for n in places]

    def _at(self, place: int) -> Row:
        record = self._content[self._starts[place] : self._ends[place]]
        return self._read(self.lines[place], record)
