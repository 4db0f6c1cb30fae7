"""`image_facts.csv` in the manifest folder: what is known of each image that is in a split.

It is kept with each pushed version, so that what the version is asked about can be compared with
what it was trained with, image by image. Columns: `sha256`, `split`, then those of `span_facts`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.cleaning import CleanImage
from components.radiograph_example_gen.manifest import write_csv
from components.radiograph_example_gen.span_facts import NUMBERS, TEXTS, facts_of

IMAGE_FACTS_FILE: Final = "image_facts.csv"
SHA256: Final = "sha256"
SPLIT: Final = "split"


def write_image_facts(uri: str, images: Iterable[tuple[str, CleanImage]]) -> None:
    """Write the file into the folder `uri`, local or remote.

    Args:
        uri: of the manifest.
        images: (split, image), in any order.
    """
    rows = sorted([image.inspection.sha256, split, *facts_of(image)] for split, image in images)
    write_csv(uri, IMAGE_FACTS_FILE, (SHA256, SPLIT, *NUMBERS, *TEXTS), rows)


def read_image_facts(folder: Path) -> list[dict[str, str]]:
    """Read the file back.

    Args:
        folder: with the file.

    Returns:
        A row an image, column -> cell.

    Raises:
        FileNotFoundError: there is none: an older version of cxr-tfx made it.
        InputError: a column is missing.
    """
    path = folder / IMAGE_FACTS_FILE
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {SHA256, SPLIT, *NUMBERS, *TEXTS} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path} has no column {min(missing)}; push the model again.")
        return list(reader)
