"""The refusals of a table's cells that SchemaGate would make, before any run. No TFX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import InputError
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.remarks import some_of
from models.table_values import why_beyond
from schema import SCHEMA_DIR, SCHEMA_FILE, contract
from schema.table import TableColumn

_SHOWN: Final = 5


def values_the_schema_refuses(
    rows: Sequence[Row], schema_dir: Path | None, table: Sequence[TableColumn] = ()
) -> Iterator[str]:
    """Write sentences, one a column, about values that are outside its domain.

    Args:
        rows: of the images that are in a split.
        schema_dir: as the configuration has it.
        table: columns that models take.

    Raises:
        InputError: the schema cannot be read.
    """
    file = (schema_dir or SCHEMA_DIR) / SCHEMA_FILE
    try:
        schema = text_format.Parse(file.read_text(encoding="utf-8"), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InputError(f"schema_dir: {str(file)!r} cannot be read: {error}.") from error
    features = {feature.name: feature for feature in schema.feature}
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    for column, name in contract.METADATA_TEXT_COLUMNS.items():
        known = domains.get(features[name].domain) if name in features else None
        if known is not None:
            cells = Counter(row.text.get(column, contract.UNKNOWN) for row in rows)
            strange = {repr(cell): count for cell, count in cells.items() if cell not in known}
            yield from _said(column, strange, ", ".join(map(repr, known)))
    for column, name in contract.METADATA_NUMBER_COLUMNS.items():
        if name in features and features[name].HasField("float_domain"):
            domain = features[name].float_domain
            numbers = Counter(row.numbers[column] for row in rows if column in row.numbers)
            far = {f"{n:g}": k for n, k in numbers.items() if not domain.min <= n <= domain.max}
            yield from _said(column, far, f"{domain.min:g} to {domain.max:g}")
    for feature in table:
        beyond = [
            f"{row.file}, line {row.line}: {why}"
            for row in rows
            if isinstance(number := row.table.get(feature.name), float)
            and (why := why_beyond(feature, number))
        ]
        if beyond:
            yield (
                f"data.features.{feature.name}: {some_of(beyond, _SHOWN)}; SchemaGate stops at "
                "such cells. Change them, or low and high."
            )


def _said(column: str, strange: Mapping[str, int], known: str) -> Iterable[str]:
    if not strange:
        return
    first = sorted(strange.items(), key=lambda item: (-item[1], item[0]))
    shown = some_of(
        (f"{n} {'image' if n == 1 else 'images'} with {cell}" for cell, n in first), _SHOWN
    )
    yield (
        f"{column}: {shown}; the schema has {known} alone, "
        "and SchemaGate stops at anything else. Change these cells, or the schema (schema_dir)."
    )
