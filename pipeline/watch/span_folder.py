"""A selection's folder: images, a table for their labels, and what is known of the choice.

It is called as the next span, with `.unlabelled` behind the number, so that no run takes it. Once
its labels are filled in, `admit` gives it the span's name.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from pipeline.config.data import SPAN
from pipeline.resolve.spans import names_of_spans
from pipeline.watch.labels import WEIGHT
from pipeline.watch.selecting import Chosen
from schema import contract
from schema.image_names import IMAGE_SUFFIXES, IMAGES_FOLDER

UNLABELLED: Final = ".unlabelled"
TABLE: Final = "metadata.csv"
SELECTION: Final = "selection.csv"
FACTS: Final = "selection.json"
LABELS: Final = "labels.csv"
DIGEST: Final = "digest"
CLASSES: Final = "classes"
# The person who labels isn't told what the model said: it would sway the answer.
TABLE_COLUMNS: Final = (
    contract.FILE_COLUMN,
    contract.LABEL_COLUMN,
    *contract.METADATA_TEXT_COLUMNS,
    *contract.METADATA_NUMBER_COLUMNS,
)
SELECTION_COLUMNS: Final = (
    *(DIGEST, contract.FILE_COLUMN, "stratum", "because", "probability", WEIGHT),
    *("model", "version", "seconds", "predicted", "confidence", "abstained", "domain_reason"),
)


@dataclass(frozen=True)
class SpanPlace:
    """The place of a span that is to come.

    Attributes:
        number: of the span.
        open: the folder while its labels are missing.
        closed: the folder once a run may take it.
        below: from either folder on, to where the images are.
    """

    number: int
    open: Path
    closed: Path
    below: Path

    @property
    def data(self) -> Path:
        """The folder for images and table."""
        return self.open / self.below


def next_place(pattern: Path, number: int | None = None) -> SpanPlace:
    """Find where the next span goes.

    Args:
        pattern: `data.dir` of the runs, with `{SPAN}` in it.
        number: of the span; one more than the last where None.

    Raises:
        InputError: there is no `{SPAN}`, or the span is there.
    """
    root, part, below = _parts(pattern)
    found = [number_ for number_, _ in _spans(root, part)]
    number = max(found, default=0) + 1 if number is None else number
    closed = root / part.replace(SPAN, str(number))
    place = SpanPlace(number, root / f"{closed.name}{UNLABELLED}", closed, below)
    if number in found:
        raise InputError(
            f"spans: span {number} is there in {root}; leave --span out for the next number."
        )
    return place


def selected_before(pattern: Path) -> set[str]:
    """Collect the digests that earlier selections hold, labelled or not.

    Args:
        pattern: `data.dir` of the runs, with `{SPAN}` in it.

    Raises:
        InputError: a selection can't be read.
    """
    root, part, below = _parts(pattern)
    return {
        row[DIGEST]
        for _, folder in _spans(root, part)
        if (folder / below / SELECTION).is_file()
        for row in read_selection(folder / below)
    }


def read_selection(folder: Path) -> list[dict[str, str]]:
    """Read which images were chosen.

    Args:
        folder: with SELECTION in it.

    Raises:
        InputError: it isn't what `write_selection` writes.
    """
    file = folder / SELECTION
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} can't be read: {error}.") from error
    for row in rows:
        if any(row.get(name) is None for name in SELECTION_COLUMNS):
            raise InputError(f"{file} is no selection of `cxr watch select`: a column is missing.")
    return rows


def write_selection(
    place: SpanPlace,
    chosen: Sequence[Chosen],
    files: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> Path:
    """Copy the images and write the tables; all of it is there afterwards, or nothing.

    Args:
        place: for it.
        chosen: at least one image.
        files: digest -> file.
        facts: that FACTS holds: counts, seed, classes.

    Returns:
        The folder for images and table.

    Raises:
        InputError: the place is taken, or the disk fails.
    """
    try:
        place.open.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".selection-", dir=place.open.parent))
    except OSError as error:
        raise InputError(f"spans: {place.open.parent} can't be written: {error}.") from error
    try:
        data = scratch / place.below
        (data / IMAGES_FOLDER).mkdir(parents=True)
        names = {one.row.digest: _copy(files[one.row.digest], one, data) for one in chosen}
        write_table(data / TABLE, TABLE_COLUMNS, (_cells(one, names) for one in chosen))
        rows = (_known(one, names) for one in chosen)
        write_table(data / SELECTION, SELECTION_COLUMNS, rows)
        (data / FACTS).write_text(json.dumps(facts, indent=1, allow_nan=False), encoding="utf-8")
        scratch.chmod(0o755 & ~_umask())
        if place.open.exists() or place.closed.exists():
            raise InputError(f"spans: {place.closed} came meanwhile; select again.")
        scratch.rename(place.open)
    except OSError as error:
        raise InputError(f"spans: {place.open} can't be written: {error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place.data


def write_table(file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV; whoever reads it meanwhile sees the old one or the new one."""
    beside = file.with_name(f".{file.name}")
    with beside.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(file)


def _parts(pattern: Path) -> tuple[Path, str, Path]:
    """Split `data.dir` at its `{SPAN}`: the folder of spans, the spans' names, what is below."""
    if str(pattern).count(SPAN) != 1:
        raise InputError(f"spans: {pattern} needs {SPAN} in it once, as data.dir has.")
    parts = pattern.absolute().parts
    place = next(index for index, part in enumerate(parts) if SPAN in part)
    return Path(*parts[:place]), parts[place], Path(*parts[place + 1 :])


def _spans(root: Path, part: str) -> list[tuple[int, Path]]:
    """List the spans that are there, labelled or not."""
    name = names_of_spans(part)
    try:
        folders = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise InputError(f"spans: {root} can't be read: {error.strerror}.") from error
    found = ((name.fullmatch(each.name.removesuffix(UNLABELLED)), each) for each in folders)
    return [(int(match[1]), each) for match, each in found if match]


def _copy(file: Path, one: Chosen, data: Path) -> str:
    """Copy an image under a name that says nothing of the patient; return the name."""
    suffix = file.suffix.lower()
    name = f"{IMAGES_FOLDER}/{one.row.digest}{suffix if suffix in IMAGE_SUFFIXES else ''}"
    shutil.copyfile(file, data / name)
    return name


def _cells(one: Chosen, names: Mapping[str, str]) -> dict[str, object]:
    cells: dict[str, object] = {contract.FILE_COLUMN: names[one.row.digest]}
    for column, feature in contract.METADATA_TEXT_COLUMNS.items():
        cells[column] = one.row.texts.get(feature, "")
    for column, feature in contract.METADATA_NUMBER_COLUMNS.items():
        value = one.row.numbers.get(feature)
        cells[column] = "" if value is None else f"{value:g}"
    return cells


def _known(one: Chosen, names: Mapping[str, str]) -> dict[str, object]:
    row = one.row
    return {
        DIGEST: row.digest,
        contract.FILE_COLUMN: names[row.digest],
        "stratum": one.stratum,
        "because": one.because,
        "probability": f"{one.probability:.9g}",
        WEIGHT: f"{one.weight:.9g}",
        "model": row.model,
        "version": row.version,
        "seconds": row.seconds,
        "predicted": row.predicted,
        "confidence": f"{row.confidence:.6g}",
        "abstained": int(row.abstained),
        "domain_reason": row.domain_reason,
    }


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
