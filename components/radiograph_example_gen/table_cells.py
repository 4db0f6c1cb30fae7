"""The cells of a table that models take (`data.features`): numbers, words, sentences, or nothing.

A cell that is no number counts as missing, and one beyond its column's range stays as it is; each
is listed with file, line and column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.columns import place_of, recognise
from components.radiograph_example_gen.settings import plain
from models.table_values import Value, advice_on, parse_number, why_beyond
from schema import contract
from schema.outcomes import NEVER
from schema.table import NUMERIC, TableColumn

# Of what DICOM headers know, by our names.
OF_HEADERS: Final = (*contract.METADATA_TEXT_COLUMNS, *contract.METADATA_NUMBER_COLUMNS)


@dataclass(frozen=True)
class Asked:
    """A column of the configuration, and the column of a table that it is.

    Attributes:
        column: as the configuration has it.
        key: the table's column, as `columns.recognise` calls it; None where it has none.
    """

    column: TableColumn
    key: str | None


def find_columns(
    table: Sequence[TableColumn],
    header: Sequence[str],
    names: Sequence[str],
    name: str,
) -> tuple[Asked, ...]:
    """Find the columns that models take.

    Args:
        table: as the configuration has them.
        header: the table's first line, stripped.
        names: what `columns.recognise` calls its columns.
        name: of the table, as messages call it.

    Raises:
        InputError: a column isn't there, and no DICOM's header knows it; or it is the file's, the
            label's or the patient's.
    """
    found = []
    for column in table:
        key = _key(column.column, header, names)
        if key is not None and key in NEVER:
            raise InputError(
                f"data.features.{column.name}: the column {column.column!r} of {name} can't be a "
                f"feature: {NEVER[key]}."
            )
        if key is None and of_header(column) is None:
            there = ", ".join(filter(None, header))
            raise InputError(
                f"{name} has no column {column.column!r} (data.features.{column.name}); it has "
                f"{there}."
            )
        found.append(Asked(column, key))
    return tuple(found)


def check_without_table(table: Iterable[TableColumn], folder: str) -> None:
    """Refuse columns that only a table could have, where there is none.

    Args:
        table: as the configuration has them.
        folder: where a table was looked for.

    Raises:
        InputError: names the first.
    """
    for column in table:
        if of_header(column) is None:
            raise InputError(
                f"data.features.{column.name} needs the column {column.column!r}, but there is no "
                f"metadata.csv in {folder!r}: put it there, or name it in data.metadata."
            )


def of_header(column: TableColumn) -> str | None:
    """Return our name of what a DICOM's header knows of a column; None where it knows nothing."""
    own = recognise([column.column]).names[0]
    if own in (*OF_HEADERS, *contract.HEADER_COLUMNS) and own not in NEVER:
        return own
    return None


def _key(column: str, header: Sequence[str], names: Sequence[str]) -> str | None:
    place = place_of(column, header)
    if place is not None:
        return names[place]
    return plain(column) if plain(column) in names else None


def read_cells(
    asked: Iterable[Asked],
    cells: Mapping[str, str],
    known: Mapping[str, Value],
    unknown: Collection[str],
) -> tuple[dict[str, Value], list[str]]:
    """Read what a record says.

    Args:
        asked: of `find_columns`.
        cells: the record's, stripped.
        known: our columns that were read already, as ages in years, and sex as F or M; of one
            that couldn't be read, `contract.UNKNOWN`.
        unknown: words that say that nothing is known, in small letters.

    Returns:
        The column's name -> its value, where there is one; and what is wrong, a sentence each.
    """
    values: dict[str, Value] = {}
    wrong = []
    for each in asked:
        if each.key is None:
            continue
        column, cell = each.column, cells.get(each.key, "")
        if cell.casefold() in unknown:
            continue
        if column.kind != NUMERIC:
            word = known.get(each.key)
            if word != contract.UNKNOWN:
                values[column.name] = word if isinstance(word, str) else cell
            continue
        number = known.get(each.key)
        if not isinstance(number, float):
            number = parse_number(cell)
        if not isinstance(number, float):
            wrong.append(
                f"{column.column} {cell!r} is no number{advice_on(cell)}; treated as missing"
            )
            continue
        values[column.name] = number
        if beyond := why_beyond(column, number):
            wrong.append(f"{beyond} (data.features.{column.name}); SchemaGate stops at it")
    return values, wrong


def from_header(
    table: Iterable[TableColumn],
    values: Mapping[str, Value],
    text: Mapping[str, str],
    numbers: Mapping[str, float],
) -> dict[str, Value]:
    """Fill in what a DICOM's header knows, where a table has no cell.

    Args:
        table: as the configuration has them.
        values: of the table.
        text: the header's, by our names.
        numbers: likewise.

    Returns:
        All values.
    """
    filled = dict(values)
    for column in table:
        own = of_header(column)
        if column.name in values or own is None:
            continue
        if column.kind == NUMERIC:
            number = numbers[own] if own in numbers else parse_number(text.get(own, ""))
            if number is not None:
                filled[column.name] = float(number)
        elif own in text:
            filled[column.name] = text[own]
        elif own in numbers:
            filled[column.name] = f"{numbers[own]:g}"
    return filled


def sentences_on(
    table: Iterable[TableColumn], rows: Iterable[Mapping[str, Value]]
) -> Iterator[str]:
    """Say what models can't learn from, a sentence each: columns without values, or with one alone.

    Args:
        table: as the configuration has them.
        rows: values of each image that is used.
    """
    columns = tuple(table)
    counts: dict[str, Counter[Value]] = {column.name: Counter() for column in columns}
    for row in rows:
        for name, value in row.items():
            counts[name][value] += 1
    for column in columns:
        seen = counts[column.name]
        if not seen:
            yield f"the feature {column.name} has no value in any image: models learn nothing of it"
        elif len(seen) == 1 and not column.presence:
            (value,) = seen
            yield (
                f"the feature {column.name} is constant: {value!r} is its only value, and models "
                "learn nothing of it"
            )
        elif column.kind == "categorical" and len(seen) > column.values:
            yield (
                f"the feature {column.name} has {len(seen)} different values: the "
                f"{column.values} most frequent of the training split are known (values), and all "
                "others count as one"
            )
