"""`cxr predict --table`: rows of a table beside the images, by the images' names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from common.errors import InputError
from models.conversion.dicom_person import sex_and_age
from models.table_values import (
    UNKNOWN_VALUES,
    advice_on,
    missing_value,
    parse_number,
    parse_sex,
    why_beyond,
)
from schema import contract
from schema.column_names import called, normal
from schema.table import CATEGORICAL, NUMERIC, TableColumn

# The name in the signature -> its value, where there is one.
Cells = Mapping[str, float | str]
_SEPARATORS: Final = (",", ";", "\t")
_SEX: Final = "sex"
_OF_HEADERS: Final = (_SEX, "age")


@dataclass(frozen=True)
class Table:
    """All that is known of images beside their pixels.

    Attributes:
        columns: that the model takes.
        rows: file, as the table has it -> its cells.
    """

    columns: tuple[TableColumn, ...]
    rows: Mapping[str, Cells]

    def cells_of(self, file: Path, content: bytes) -> Cells:
        """Return an image's cells; what a DICOM's header says fills in where there is none.

        Args:
            file: of the image; a row has its path as it was given, or the end of it.
            content: of the file.
        """
        found = dict(self._row_of(file) or {})
        by_header = [
            (column, own)
            for column in self.columns
            if column.name not in found and (own := _own_name(column))
        ]
        if by_header:
            known = sex_and_age(content)
            found |= {column.name: known[own] for column, own in by_header if own in known}
        return found

    def without_row(self, files: Iterable[Path]) -> list[Path]:
        """List the files that no row names."""
        return [file for file in files if self._row_of(file) is None]

    def without_file(self, files: Iterable[Path]) -> list[str]:
        """List the rows that name none of the files."""
        named = {name for file in files for name in _names_of(file)}
        return [row for row in self.rows if row not in named]

    def as_tensors(self, cells: Sequence[Cells]) -> dict[str, list[Any]]:
        """Return a signature's values, a row an image; NaN or "" where one is missing.

        Args:
            cells: of each image.
        """
        return {
            column.name: [
                _encoded(each[column.name]) if column.name in each else missing_value(column)
                for each in cells
            ]
            for column in self.columns
        }

    def _row_of(self, file: Path) -> Cells | None:
        return next((self.rows[name] for name in _names_of(file) if name in self.rows), None)


def read_table(file: Path | None, columns: Sequence[TableColumn], model: str) -> Table:
    """Read a table.

    Args:
        file: CSV in UTF-8 whose header names a column `file` and columns of the model, by the names
            they had in training or that they have in the signature; None for no table, which
            leaves what DICOM headers say.
        columns: that the model takes.
        model: as messages call it.

    Raises:
        InputError: the model takes none; or the table can't be read, names no column of the
            model, or has a cell that is no number, or is beyond its column's range.
    """
    if file is None:
        return Table(tuple(columns), {})
    if not columns:
        raise InputError(f"table: {model} takes no columns of a table, but images alone.")
    header, records = _records(file)
    places = {
        column: header.index(name)
        for column in columns
        for name in _header_names(column, header)[:1]
    }
    if not places:
        raise InputError(
            f"table: {file} has none of the columns of {model}, which are "
            f"{', '.join(column.name for column in columns)}; it has {', '.join(header)}."
        )
    key = next(i for i, name in enumerate(header) if called(name, contract.FILE_COLUMN))
    rows: dict[str, Cells] = {}
    wrong: list[str] = []
    for line, cells in records:
        name = PurePosixPath(cells[key].replace("\\", "/")).as_posix()
        if name in rows:
            raise InputError(f"table: {file}, line {line}: {name!r} has a row before; remove one.")
        values: dict[str, float | str] = {}
        for column, place in places.items():
            cell = cells[place] if place < len(cells) else ""
            if cell.casefold() in UNKNOWN_VALUES:
                continue
            value: float | str | None = parse_number(cell) if column.kind == NUMERIC else cell
            if column.kind != NUMERIC and _own_name(column) == _SEX:
                value = parse_sex(cell)
            if value is None and column.kind != NUMERIC:
                wrong.append(f"line {line}: {column.column} {cell!r} is none of F and M")
            elif value is None:
                wrong.append(f"line {line}: {column.column} {cell!r} is no number{advice_on(cell)}")
            elif isinstance(value, float) and (beyond := why_beyond(column, value)):
                wrong.append(f"line {line}: {beyond}")
            else:
                values[column.name] = value
        rows[name] = values
    if wrong:
        raise InputError(f"table: {file}:\n  " + "\n  ".join(wrong))
    return Table(tuple(columns), rows)


def columns_of_signature(inputs: Mapping[str, Any]) -> tuple[TableColumn, ...]:
    """Say what is known of a model's columns by its signature alone.

    Args:
        inputs: of `contract.SIGNATURE_TABLE`: name -> description with `dtype`, as TensorFlow
            Serving's metadata have it.
    """
    return tuple(
        TableColumn(name, name, NUMERIC if info["dtype"] == "DT_FLOAT" else CATEGORICAL)
        for name, info in sorted(inputs.items())
        if name != contract.INPUT_IMAGES
    )


def _records(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"table: {file} can't be read as UTF-8: {error}") from error
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        records = [
            (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)
        ]
    except csv.Error as error:
        raise InputError(f"table: {file}, line {reader.line_num}: no CSV ({error}).") from error
    if not any(called(name, contract.FILE_COLUMN) for name in header):
        raise InputError(
            f"table: {file} has no column 'file' with the images' names; it has "
            f"{', '.join(header) or 'none'}."
        )
    return header, records


def _header_names(column: TableColumn, header: Sequence[str]) -> list[str]:
    """List the header's names of a column, the best first."""
    wanted = (column.column, column.name)
    exact = [name for one in wanted for name in header if name.casefold() == one.casefold()]
    return exact or [name for one in wanted for name in header if normal(name) == normal(one)]


def _own_name(column: TableColumn) -> str | None:
    names = (column.column, column.name)
    return next((own for own in _OF_HEADERS if any(called(name, own) for name in names)), None)


def _names_of(file: Path) -> list[str]:
    """List what a row may call a file: its path as given, and the ends of it, down to its name."""
    parts = PurePosixPath(file.as_posix()).parts
    return [PurePosixPath(*parts[start:]).as_posix() for start in range(len(parts))]


def _encoded(value: float | str) -> float | bytes:
    return value.encode() if isinstance(value, str) else value
