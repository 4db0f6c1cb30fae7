"""`span_facts.csv` in the manifest folder: what is known of the last two spans' images.

Drift is measured on it, so the span before the window need not be among the examples. Columns:
`span` (its number), then features of `schema.contract` by name, but pixels, paths and patients;
then numbers and words of the table's columns that models take. A line an image that is in a split.
Empty where the age, or what a table says, is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from components.radiograph_example_gen.cleaning import CleanImage
from components.radiograph_example_gen.manifest import read_table, write_csv
from schema import contract
from schema.table import FINITE_PREFIX, NUMERIC, TEXT, TableColumn

SPAN_FACTS_FILE = "span_facts.csv"
NUMBERS = (
    contract.WIDTH,
    contract.HEIGHT,
    contract.BYTES,
    contract.MEAN,
    contract.STD,
    contract.ENTROPY,
    *contract.METADATA_NUMBER_COLUMNS.values(),
)
TEXTS = (
    contract.LABEL_TEXT,
    *(name for name in contract.METADATA_TEXT_COLUMNS.values() if name != contract.PATIENT),
)
_SPAN = "span"


def write_span_facts(
    uri: str,
    spans: Iterable[tuple[int, Sequence[CleanImage]]],
    table: Sequence[TableColumn] = (),
) -> None:
    """Write the file into the folder `uri`, local or remote.

    Args:
        uri: of the manifest.
        spans: (number, images that are in a split), in the order of the numbers.
        table: columns that models take; sentences stay out.
    """
    columns = [column for column in table if column.kind != TEXT]
    rows = [
        [str(number), *_facts(image), *_of_table(image, columns)]
        for number, images in spans
        for image in images
    ]
    names = [column.finite if column.kind == NUMERIC else column.raw for column in columns]
    write_csv(uri, SPAN_FACTS_FILE, (_SPAN, *NUMBERS, *TEXTS, *names), rows)


def is_number(name: str) -> bool:
    """Return whether a feature of the file is one of numbers."""
    return name in NUMBERS or name.startswith(FINITE_PREFIX)


def read_span_facts(uri: str) -> dict[int, dict[str, list[str]]]:
    """Read the file back.

    Args:
        uri: of the manifest.

    Returns:
        Span number → feature → a cell for each image.

    Raises:
        tf.errors.NotFoundError: there is none: the run had no spans.
    """
    found: dict[int, dict[str, list[str]]] = {}
    (_, *names), rows = read_table(uri, SPAN_FACTS_FILE)
    for number, *cells in rows:
        features = found.setdefault(int(number), {name: [] for name in names})
        for name, cell in zip(names, cells, strict=True):
            features[name].append(cell)
    return found


def _facts(image: CleanImage) -> list[str]:
    seen, row = image.inspection, image.row
    known = {} if row is None else row.numbers
    texts = {} if row is None else row.text
    measured = [seen.width, seen.height, seen.size, seen.mean, seen.std, seen.entropy]
    return [
        *map(repr, measured),
        *(repr(known[c]) if c in known else "" for c in contract.METADATA_NUMBER_COLUMNS),
        seen.class_name,
        *(
            texts.get(column, contract.UNKNOWN)
            for column, name in contract.METADATA_TEXT_COLUMNS.items()
            if name != contract.PATIENT
        ),
    ]


def _of_table(image: CleanImage, columns: Iterable[TableColumn]) -> list[str]:
    known = {} if image.row is None else image.row.table
    values = (known.get(column.name, "") for column in columns)
    return [
        value if isinstance(value, str) else repr(value) if math.isfinite(value) else ""
        for value in values
    ]
