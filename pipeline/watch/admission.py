"""Admits a labelled selection as the next span."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from pipeline.watch.labels import COLUMNS as LABEL_COLUMNS
from pipeline.watch.labels import WEIGHT, class_of, read_labels
from pipeline.watch.span_folder import (
    CLASSES,
    DIGEST,
    FACTS,
    LABELS,
    SELECTION,
    TABLE,
    UNLABELLED,
    read_selection,
    write_table,
)
from schema import contract

_SHOWN: Final = 5


@dataclass(frozen=True)
class Admitted:
    """A span that a run may take.

    Attributes:
        folder: of the span.
        labelled: class -> images.
        left_out: file -> why it has no label that can be used; a run lists it, too.
        unknown: digests of a file of labels that the selection doesn't have.
    """

    folder: Path
    labelled: Counter[str]
    left_out: dict[str, str]
    unknown: list[str]


def admit(folder: Path, labels: Path | None = None, *, leave_out: bool = False) -> Admitted:
    """Check a selection's labels, and give its folder the span's name.

    Args:
        folder: that `select` made, called `….unlabelled`, or the one with the tables below it.
        labels: CSV of digest and label, which fill in the table; the table's own where None.
        leave_out: go on without the images whose label is missing or can't be used.

    Raises:
        InputError: it is no selection, a label is at fault, a class has no image, or the span is
            there. Nothing is changed then.
    """
    place, data = _found(folder)
    closed = place.with_name(place.name.removesuffix(UNLABELLED))
    if closed.exists():
        raise InputError(f"{closed} is there; rename one of both to a number that is free.")
    chosen = {row[contract.FILE_COLUMN]: row for row in read_selection(data)}
    classes = _classes(data)
    columns, rows = _table(data / TABLE)
    problems: list[str] = []
    unknown: list[str] = []
    if labels is not None:
        problems, unknown = _fill_in(rows, chosen, labels, classes)
    found, at_fault = _checked(rows, chosen, classes)
    problems += at_fault
    if problems:
        raise InputError(_listed(f"{labels or data / TABLE}: nothing was admitted.", problems))
    left_out = _without(chosen, found, rows)
    if left_out and not leave_out:
        lines = [f"{file}: {why}" for file, why in left_out.items()]
        raise InputError(
            _listed(
                f"{data / TABLE}: {len(left_out)} of {len(chosen)} images have no label that can "
                "be used. Fill them in, or give --leave-out.",
                lines,
            )
        )
    counts = Counter(found.values())
    empty = [name for name in classes if not counts[name]]
    if empty:
        raise InputError(
            f"{data / TABLE}: no image is labelled {', '.join(map(repr, empty))}, and a span needs "
            "one of each class; label more, or put the images into another span."
        )
    for row in rows:
        row[contract.LABEL_COLUMN] = found.get(row[contract.FILE_COLUMN], row["label"])
    told = (
        {DIGEST: chosen[file][DIGEST], "label": label, WEIGHT: chosen[file][WEIGHT]}
        for file, label in found.items()
    )
    try:
        write_table(data / TABLE, columns, rows)
        write_table(data / LABELS, (*LABEL_COLUMNS, WEIGHT), told)
        place.rename(closed)
    except OSError as error:
        raise InputError(f"{place} can't be written: {error}.") from error
    return Admitted(closed, counts, left_out, unknown)


def _found(folder: Path) -> tuple[Path, Path]:
    """Find the folder whose name changes, and the one with the tables."""
    folder = folder.absolute()
    places = [each for each in (folder, *folder.parents) if each.name.endswith(UNLABELLED)]
    if not folder.is_dir() or not places:
        raise InputError(
            f"{folder} is no selection that waits for labels; its folder is called "
            f"…{UNLABELLED}, and `cxr watch select` makes it."
        )
    tables = [folder] if (folder / SELECTION).is_file() else [
        file.parent for file in sorted(folder.rglob(SELECTION))
    ]  # fmt: skip
    if len(tables) != 1:
        raise InputError(f"{folder} holds {len(tables)} files {SELECTION}; one is needed.")
    return places[0], tables[0]


def _classes(data: Path) -> list[str]:
    file = data / FACTS
    try:
        return [str(name) for name in json.loads(file.read_text(encoding="utf-8"))[CLASSES]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} can't be read: {error}; select again.") from error


def _table(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            rows = [{name: row.get(name) or "" for name in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} can't be read: {error}; save it as CSV in UTF-8.") from error
    for name in (contract.FILE_COLUMN, contract.LABEL_COLUMN):
        if name not in columns:
            raise InputError(f"{file} has no column {name!r}; its cells are parted by commas.")
    return columns, rows


def _fill_in(
    rows: Sequence[dict[str, str]],
    chosen: dict[str, dict[str, str]],
    labels: Path,
    classes: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Write the labels of another file into the rows; return its faults, and unknown digests."""
    told = read_labels(labels, classes)
    told.join({row[DIGEST] for row in chosen.values()})
    for row in rows:
        known = chosen.get(row[contract.FILE_COLUMN])
        label = told.of_digest.get(known[DIGEST]) if known else None
        if label is not None:
            row[contract.LABEL_COLUMN] = label
    return [f"line {line}: {why}" for line, why in sorted(told.refused.items())], told.unknown


def _checked(
    rows: Sequence[dict[str, str]], chosen: dict[str, dict[str, str]], classes: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the labels by file, and the rows at fault; a label that is no class is left out."""
    first: dict[str, tuple[int, str]] = {}
    problems = []
    for line, row in enumerate(rows, 2):
        file, label = row[contract.FILE_COLUMN], row[contract.LABEL_COLUMN].strip()
        if file not in chosen:
            problems.append(f"row {line}: {file[:80]!r} is no image of the selection")
            continue
        known = first.setdefault(file, (line, label))
        if known[1] != label:
            problems.append(f"row {line}: {file} has another label than in row {known[0]}")
    told = {file: class_of(label, classes) for file, (_, label) in first.items()}
    return {file: label for file, label in told.items() if label is not None}, problems


def _without(
    chosen: dict[str, dict[str, str]], found: dict[str, str], rows: Sequence[dict[str, str]]
) -> dict[str, str]:
    written = {row[contract.FILE_COLUMN]: row[contract.LABEL_COLUMN].strip() for row in rows}
    why = {}
    for file in chosen:
        if file not in found:
            label = written.get(file)
            why[file] = (
                "its row is gone" if label is None
                else f"{label[:80]!r} is no class" if label else "no label"
            )  # fmt: skip
    return why


def _listed(sentence: str, lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n  ".join([sentence, *lines[:_SHOWN], *more])
