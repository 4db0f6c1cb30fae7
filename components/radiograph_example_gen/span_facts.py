"""`span_facts.csv` in the manifest folder: what is known of the last two spans' images.

Drift is measured on it, so the span before the window need not be among the examples. Columns:
`span` (its number), then features of `schema.contract` by name, but pixels, paths and patients;
a line an image that is in a split. Empty where the age is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from components.radiograph_example_gen.cleaning import CleanImage
from components.radiograph_example_gen.manifest import read_csv, write_csv
from schema import contract

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


def write_span_facts(uri: str, spans: Iterable[tuple[int, Sequence[CleanImage]]]) -> None:
    """Write the file into the folder `uri`, local or remote.

    Args:
        uri: of the manifest.
        spans: (number, images that are in a split), in the order of the numbers.
    """
    rows = [[str(number), *facts_of(image)] for number, images in spans for image in images]
    write_csv(uri, SPAN_FACTS_FILE, (_SPAN, *NUMBERS, *TEXTS), rows)


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
    for number, *cells in read_csv(uri, SPAN_FACTS_FILE):
        features = found.setdefault(int(number), {name: [] for name in (*NUMBERS, *TEXTS)})
        for name, cell in zip((*NUMBERS, *TEXTS), cells, strict=True):
            features[name].append(cell)
    return found


def facts_of(image: CleanImage) -> list[str]:
    """Return the cells of an image, in the order of NUMBERS and TEXTS."""
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
