"""metadata.csv → what is known of each image beside its pixels."""

from __future__ import annotations

import csv
import io
import posixpath
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from components.radiograph_example_gen.columns import Columns, place_of, recognise
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.kept_rows import KeptRows
from components.radiograph_example_gen.listed import Listed
from components.radiograph_example_gen.records import (
    Record,
    check_text,
    find_separator,
    read_records,
)
from components.radiograph_example_gen.table_cells import Asked, find_columns, read_cells
from models.table_values import SEXES, UNKNOWN_VALUES, Value, parse_sex, parse_years
from schema import contract
from schema.table import TableColumn

PATIENT_COLUMN = "patient_id"
SEX_COLUMN: Final = "sex"
SOURCE_COLUMN = "source"
# Beside `UNKNOWN_VALUES`, for patients: zeros, and the numbers that programs write where they know
# none.
_NO_PATIENT: Final = re.compile(r"-?0+([.,]0*)?|-0*[19]9*([.,]0*)?")

_SHOWN_OF_A_LINE: Final = 80
# Longer words are rarely the same; they aren't looked up.
_SHORT: Final = 24
# So that ids, of which there are many, take no memory that grows with the table.
_MOST_WORDS: Final = 10_000
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One record of metadata.csv.

    Attributes:
        line: where the record starts, counted from 1, the header included; 0 where there is no
            record, and a DICOM's header alone says something.
        file: the key, normalised to "/" and without "./".
        label: the class it claims, "" where there is none.
        text: column → value for `contract.METADATA_TEXT_COLUMNS`; UNKNOWN where empty.
        numbers: column → value for `contract.METADATA_NUMBER_COLUMNS`, where known.
        licence: the first of `contract.LICENCE_COLUMNS` that is filled in; else UNKNOWN.
        further: column → value for those that were asked for; UNKNOWN where empty.
        table: the name of a column that models take → its value, where there is one.
    """

    line: int
    file: str
    label: str = ""
    text: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    licence: str = contract.UNKNOWN
    further: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Value] = field(default_factory=dict)

    @property
    def patient(self) -> str:
        """The patient id, "" where unknown."""
        value = self.text.get(PATIENT_COLUMN, contract.UNKNOWN)
        return "" if value == contract.UNKNOWN else value

    def agrees_with(self, other: Row) -> bool:
        """Return whether both say the same of an image."""
        return self._says() == other._says()

    def _says(self) -> tuple[object, ...]:
        says = self.label.casefold(), dict(self.text), dict(self.numbers), self.licence
        return *says, dict(self.further), dict(self.table)


class _Known:
    """Words that were read before: a table has few, a million times."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def word(self, word: str) -> str:
        if len(word) > _SHORT or (len(self._words) >= _MOST_WORDS and word not in self._words):
            return word
        return self._words.setdefault(word, word)

    def words(self, values: dict[str, Any]) -> Mapping[str, Any]:
        if not values:
            return _NOTHING
        return {n: self.word(v) if isinstance(v, str) else v for n, v in values.items()}


@dataclass(frozen=True)
class Metadata:
    """The parsed table.

    Attributes:
        rows: of the table, each read again when it is asked for.
        problems: cells that had to be treated as unknown.
        columns: what its columns were taken for.
        short: lines of records that end before the header's last named column.
        respelt: another spelling of a sex -> how many cells were read as F or M.
    """

    rows: Sequence[Row]
    problems: Collection[LeftOut]
    columns: Columns
    short: Sequence[int] = ()
    respelt: Mapping[str, int] = field(default_factory=dict)


def read_metadata_file(path: Path) -> bytes:
    """Read the file whole.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def parse_metadata(
    content: bytes,
    name: str = "metadata.csv",
    further: Sequence[str] = (),
    named: Mapping[str, str] | None = None,
    table: Sequence[TableColumn] = (),
) -> Metadata:
    """Parse the bytes of a CSV file with a header line.

    Cells are stripped; columns beyond the contract's and `further` are ignored.

    Args:
        content: UTF-8, with or without a byte order mark.
        name: how messages call the file.
        further: columns to read beside the contract's, in lower case.
        named: our name of a column -> its own, as the configuration has it.
        table: columns that models take.

    Raises:
        InputError: not UTF-8, not CSV, no `file` column, none of those in `further`, `named` or
            `table`, or a record that has more cells than the header.
    """
    columns, separator, records = _read_table(content, name, named or {})
    asked = find_columns(table, columns.header, columns.names, name)
    known = _Known()
    for column in further:
        # What a DICOM's header may know needs no column.
        if column not in (*columns.names, *contract.HEADER_COLUMNS):
            raise InputError(
                f"{name} has no column {column!r} (data.slice_columns); it has "
                f"{', '.join(filter(None, columns.names))}."
            )
    header = columns.names

    def read(line: int, record: bytes) -> Row:
        text = io.StringIO(record.decode("utf-8"), newline="")
        values = next(csv.reader(text, delimiter=separator, strict=True))
        cells = dict(zip(header, map(str.strip, values), strict=False))
        return _parse_row(line, cells, further, asked, known)[0]

    rows = KeptRows(content, read)
    problems = Listed()
    short = array("Q")
    respelt: Counter[str] = Counter()
    with_name = set(filter(None, columns.names))
    # One at a time: of a million records, no more is kept than where they are.
    for line, start, end, cells in records:
        stated = cells.get(SEX_COLUMN, "")
        row, problem = _parse_row(line, cells, further, asked, known)
        if row.text[SEX_COLUMN] in SEXES and row.text[SEX_COLUMN] != stated:
            respelt[stated] += 1
        rows.add(line, start, end)
        problems.extend(problem)
        if not with_name <= cells.keys():
            short.append(line)
    return Metadata(rows, problems.done(), columns, short, respelt)


def further_columns(
    content: bytes,
    name: str = "metadata.csv",
    named: Mapping[str, str] | None = None,
    most: int = _MOST_WORDS,
) -> dict[str, frozenset[str]]:
    """Find the columns that the contract doesn't know, with the values of each.

    Args:
        content: as `parse_metadata` takes it.
        name: how messages call the file.
        named: as `parse_metadata` takes it.
        most: of a column with more different values, any so many are returned.

    Returns:
        Column in lower case → its different values, UNKNOWN for empty cells among them; in the
        order of the file.

    Raises:
        InputError: as `parse_metadata` does of the file itself.
    """
    columns, _, records = _read_table(content, name, named or {})
    found: dict[str, set[str]] = {
        column: set() for column in columns.names if column and column not in contract.OWN_COLUMNS
    }
    for *_, cells in records:
        for column, values in found.items():
            if len(values) < most:
                values.add(_known(cells.get(column, "")))
    return {column: frozenset(values) for column, values in found.items()}


def has_label_column(content: bytes, named: Mapping[str, str] | None = None) -> bool:
    """Return whether a table says classes; not where it can't be read as one.

    Args:
        content: as `parse_metadata` takes it.
        named: likewise.
    """
    try:
        columns, *_ = _read_table(content, "", named or {})
    except InputError:
        return False
    return contract.LABEL_COLUMN in columns.names


def _read_table(
    content: bytes, name: str, named: Mapping[str, str]
) -> tuple[Columns, str, Iterator[Record[dict[str, str]]]]:
    """Read what the columns are taken for; the sign between cells; and each record, by column."""
    check_text(content, name)
    separator = find_separator(content, named)
    lines = read_records(content, name, separator)
    first = next(lines, None)
    cells_of_header = first.cells if first else []
    columns = recognise(cells_of_header, named)
    header = columns.names
    for ours, theirs in named.items():
        if place_of(theirs, cells_of_header) is None:
            raise InputError(
                f"{name} has no column {theirs!r}, which data.columns names as {ours!r}; it has "
                f"{', '.join(filter(None, cells_of_header))}: correct data.columns."
            )
    if contract.FILE_COLUMN not in header:
        raise InputError(
            f"{name} has no column {contract.FILE_COLUMN!r} (nor one of its other names, as "
            "'file name' or 'image'): its first line must name the columns, with commas, "
            f"semicolons or tabs between them, and {contract.FILE_COLUMN!r} must hold the image's "
            f"path relative to the data folder.{_first_line(cells_of_header)}"
        )
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise InputError(f"{name}: the column {twice[0]!r} is there twice; remove one.")
    return columns, separator, _by_column(lines, header, name)


def _by_column(
    lines: Iterable[Record[list[str]]], header: Sequence[str], name: str
) -> Iterator[Record[dict[str, str]]]:
    for line, start, end, cells in lines:
        if any(cells[len(header) :]):
            raise InputError(
                f"{name}, line {line}: {len(cells)} cells, but the header has {len(header)} "
                f"columns; quote a cell that contains the sign that separates cells."
            )
        yield Record(line, start, end, dict(zip(header, cells, strict=False)))


def _first_line(cells: Sequence[str]) -> str:
    if not cells:
        return " It is empty."
    line = ", ".join(cells)
    return f" Its first line reads {line[:_SHOWN_OF_A_LINE]!r}."


def _parse_row(
    line: int,
    cells: Mapping[str, str],
    further: Sequence[str],
    asked: Sequence[Asked],
    same: _Known,
) -> tuple[Row, list[LeftOut]]:
    file = cells[contract.FILE_COLUMN].replace("\\", "/")
    file = posixpath.normpath(file) if file else ""
    text = {}
    for column in contract.METADATA_TEXT_COLUMNS:
        known = known_patient if column == PATIENT_COLUMN else _known
        text[column] = known(cells.get(column, ""))
    numbers = {}
    problems = []
    if (stated_sex := text[SEX_COLUMN]) != contract.UNKNOWN:
        text[SEX_COLUMN] = parse_sex(stated_sex) or contract.UNKNOWN
        if text[SEX_COLUMN] == contract.UNKNOWN:
            reason = f"line {line}: sex {stated_sex!r} is none of F and M; treated as unknown"
            problems.append(LeftOut(file, Kind.METADATA, reason))
    for column in contract.METADATA_NUMBER_COLUMNS:
        value = cells.get(column, "")
        number = parse_years(value)
        if number is not None:
            numbers[column] = number
        elif value.casefold() not in UNKNOWN_VALUES:
            reason = f"line {line}: {column} {value!r} is no number of years; treated as unknown"
            problems.append(LeftOut(file, Kind.METADATA, reason))
    read: dict[str, Value] = {SEX_COLUMN: text[SEX_COLUMN], **numbers}
    table, wrong = read_cells(asked, cells, read, UNKNOWN_VALUES)
    problems += [LeftOut(file, Kind.METADATA, f"line {line}: {reason}") for reason in wrong]
    stated = (cells.get(column, "") for column in contract.LICENCE_COLUMNS)
    licence = _known(next(filter(None, stated), ""))
    row = Row(
        line=line,
        file=file,
        label=same.word(cells.get(contract.LABEL_COLUMN, "")),
        text=same.words(text),
        numbers=numbers or _NOTHING,
        licence=same.word(licence),
        further=same.words({column: _known(cells.get(column, "")) for column in further}),
        table=same.words(table),
    )
    return row, problems


def _known(value: str) -> str:
    # Spelled-out "Unknown" must not become one patient with thousands of images.
    return contract.UNKNOWN if value.casefold() in UNKNOWN_VALUES else value


def known_patient(value: str) -> str:
    """Return an id without what no reader sees: forms of signs and blanks, signs of no width."""
    text = value
    if not text.isascii():
        text = unicodedata.normalize("NFKC", value)
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    text = " ".join(text.split())
    return _known("" if _NO_PATIENT.fullmatch(text) else text)
