"""The bytes of a CSV file → its records, one at a time, and where in the file each is."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from common.errors import InputError
from components.radiograph_example_gen.columns import recognise
from schema import contract

# As spreadsheets of different countries write CSV. The first is taken where none fits better.
_SEPARATORS: Final = (",", ";", "\t")
Cells = TypeVar("Cells")


class Record(Generic[Cells]):
    """A record: its line, the bytes from and to which it goes, and what is in it."""

    __slots__ = ("cells", "end", "line", "start")

    def __init__(self, line: int, start: int, end: int, cells: Cells) -> None:
        self.line, self.start, self.end, self.cells = line, start, end, cells

    def __iter__(self) -> Iterator[Any]:
        yield from (self.line, self.start, self.end, self.cells)


def check_text(content: bytes, name: str) -> None:
    """Refuse what is no text.

    Args:
        content: of the file.
        name: how messages call it.

    Raises:
        InputError: it is not UTF-8, or holds zero bytes.
    """
    try:
        # A line at a time: the text of a large table is not held.
        for _ in _decoded(content):
            pass
    except UnicodeDecodeError:
        raise InputError(
            f"{name} is not UTF-8 (byte {_not_utf8(content)}): save it as CSV in UTF-8."
        ) from None
    if b"\0" in content:
        raise InputError(
            f"{name} is no text, or not in UTF-8 (it holds zero bytes): save it as CSV in UTF-8."
        )


def _not_utf8(content: bytes) -> int:
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _decoded(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")


def read_records(content: bytes, name: str, separator: str) -> Iterator[Record[list[str]]]:
    """Read the records one at a time, blank ones left out.

    Args:
        content: UTF-8, with or without a byte order mark.
        name: how messages call the file.
        separator: the sign between cells.

    Raises:
        InputError: a record is no CSV.
    """
    end = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0

    def counted() -> Iterator[str]:
        nonlocal end
        for text in _decoded(content):
            end += len(text) if text.isascii() else len(text.encode("utf-8"))
            yield text

    reader = csv.reader(counted(), delimiter=separator, strict=True)
    line, start = 1, end
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Record(line, start, end, stripped)
            line, start = reader.line_num + 1, end
    except csv.Error as error:
        raise InputError(f"{name}, line {line}: not CSV ({error}).") from error


def find_separator(content: bytes, named: Mapping[str, str]) -> str:
    """Find the sign that parts the header into columns of which one is the file's.

    Args:
        content: UTF-8, with or without a byte order mark.
        named: our name of a column -> its own.
    """
    lines = (line for part in _decoded(content) for line in part.splitlines())
    header = next((line for line in lines if line.strip()), "")
    for sign in _SEPARATORS:
        try:
            cells = next(csv.reader([header], delimiter=sign), [])
        except csv.Error:  # The code that reads all of it says what is wrong.
            continue
        if contract.FILE_COLUMN in recognise([cell.strip() for cell in cells], named).names:
            return sign
    return _SEPARATORS[0]
