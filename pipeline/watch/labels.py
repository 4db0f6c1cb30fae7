"""Labels that came later: a CSV of digest and label."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.errors import InputError

COLUMNS: Final = ("digest", "label")
# What `cxr watch select` adds: the number of served images that an image stands for.
WEIGHT: Final = "weight"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass
class Labels:
    """The labels that can be used, and those that can't.

    Attributes:
        of_digest: SHA-256 of an image's file -> its class.
        weights: SHA-256 -> weight of the design by which it was chosen; empty where the file has no
            such column.
        refused: line of the file -> why it isn't used.
        unknown: digests that the log doesn't have; filled in when they are joined.
    """

    of_digest: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def join(self, logged: Collection[str]) -> None:
        """Note which digests nobody asked about."""
        self.unknown = sorted(set(self.of_digest) - set(logged))


def read_labels(file: Path, classes: Collection[str]) -> Labels:
    """Read the file.

    Args:
        file: CSV with the columns `digest` and `label`, perhaps `weight`; further ones are passed
            over.
        classes: that the models know.

    Returns:
        A digest that stands there with two labels is in neither: both lines are refused.

    Raises:
        InputError: it can't be read, or lacks a column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"labels: {file} has no column {missing[0]!r}.")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"labels: {file} can't be read: {error}.") from error
    weighted = WEIGHT in (reader.fieldnames or ())
    found = Labels()
    first_line: dict[str, int] = {}
    for line, row in rows:
        digest = (row["digest"] or "").strip().lower()
        written = (row["label"] or "").strip()
        label = class_of(written, classes)
        weight = _weight(row[WEIGHT]) if weighted else 1.0
        known = found.of_digest.get(digest)
        if not _DIGEST.fullmatch(digest):
            found.refused[line] = f"{digest[:80]!r} is no SHA-256 in hex"
        elif label is None:
            found.refused[line] = (
                f"label {written[:80]!r} is no class; there are {', '.join(classes)}"
            )
        elif weight is None:
            found.refused[line] = f"weight {row[WEIGHT]!r:.80} is no number from 1 on"
        elif digest in first_line and known != label:
            first = first_line[digest]
            found.of_digest.pop(digest, None)
            found.weights.pop(digest, None)
            found.refused[line] = f"another label than line {first}, so neither is used"
            found.refused[first] = f"another label than line {line}, so neither is used"
        else:
            found.of_digest[digest] = label
            first_line[digest] = line
            if weighted:
                found.weights[digest] = weight
    return found


def class_of(label: str, classes: Collection[str]) -> str | None:
    """Find the class that a label means: the one called so, else so without regard to case.

    Returns:
        None where there is none, or where it could be two.
    """
    if label in classes:
        return label
    found = [name for name in classes if name.casefold() == label.casefold()]
    return found[0] if len(found) == 1 else None


def _weight(cell: str | None) -> float | None:
    """Read a weight: an image stands for itself at least."""
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if 1.0 <= value < math.inf else None
