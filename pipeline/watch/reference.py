"""The training's side of a served version, out of what the push kept of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.intervals import wilson95
from components.pushed_versions.record import MODEL as DIGEST
from components.pushed_versions.record import RECORD_FILE
from components.radiograph_example_gen.image_facts import read_image_facts
from components.radiograph_example_gen.manifest import MANIFEST_FILE
from components.radiograph_example_gen.span_facts import NUMBERS, TEXTS
from models.predictions import Predictions
from schema import contract


@dataclass(frozen=True)
class HeldOut:
    """The answers by which a model was calibrated, to images that it wasn't fitted to.

    Attributes:
        confidences: highest probability of each, float64 [images].
        predicted: class of each.
        right: bool [images].
    """

    confidences: np.ndarray
    predicted: Sequence[str]
    right: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Say how well confidence told the truth there."""
        right, total = int(self.right.sum()), len(self.right)
        return {
            "images": total,
            "mean_confidence": float(self.confidences.mean()),
            "accuracy": right / total,
            "wilson95": wilson95(right, total),
        }


@dataclass(frozen=True)
class Reference:
    """The training's side of a version.

    Attributes:
        classes: in label order.
        numbers: feature -> values of the run's images; without those that nobody knows.
        texts: likewise.
        held_out: None where the push kept no answers.
        seen: digests of all images of the run, the test split's, too.
    """

    classes: tuple[str, ...]
    numbers: Mapping[str, list[float]]
    texts: Mapping[str, list[str]]
    held_out: HeldOut | None
    seen: frozenset[str]


def read_reference(pushed: Path, model: str, version: int) -> Reference | None:
    """Read what was kept of a version.

    Args:
        pushed: the run's folder `pushed`.
        model: name of the model.
        version: of it.

    Returns:
        None where nobody kept anything of such a version: it is another pipeline's.

    Raises:
        InputError: what was kept can't be read.
    """
    folder = pushed / model / str(version)
    if not (folder / RECORD_FILE).is_file():
        return None
    try:
        classes = tuple(json.loads((folder / contract.SUMMARY_FILE).read_text())["classes"])
        with (folder / MANIFEST_FILE).open(newline="", encoding="utf-8") as file:
            seen = frozenset(row["sha256"] for row in csv.DictReader(file))
        numbers, texts = _facts(folder)
        held_out = _held_out(_folder_with_answers(pushed, folder), classes)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{folder}: what was kept of this version can't be read: {error}; push the model again."
        ) from error
    return Reference(classes, numbers, texts, held_out, seen)


def _facts(folder: Path) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    # Of all splits, which are one draw from one source: the more, the smaller a difference shows.
    try:
        rows = read_image_facts(folder)
    except FileNotFoundError:
        return {}, {}
    numbers = {name: [float(row[name]) for row in rows if row[name]] for name in NUMBERS}
    texts = {
        name: [row[name] for row in rows if row[name] not in ("", contract.UNKNOWN)]
        for name in TEXTS
        if name != contract.LABEL_TEXT
    }
    return (
        {name: values for name, values in numbers.items() if values},
        {name: values for name, values in texts.items() if values},
    )


def _folder_with_answers(pushed: Path, folder: Path) -> Path | None:
    """Find who kept the answers: the version itself, or the one that the champion is a copy of."""
    if (folder / contract.PREDICTIONS_FILE).is_file():
        return folder
    wanted = json.loads((folder / RECORD_FILE).read_text())[DIGEST]
    for record in sorted(pushed.glob(f"*/*/{RECORD_FILE}")):
        same = json.loads(record.read_text())[DIGEST] == wanted
        if same and (record.parent / contract.PREDICTIONS_FILE).is_file():
            return record.parent
    return None


def _held_out(folder: Path | None, classes: Sequence[str]) -> HeldOut | None:
    if folder is None:
        return None
    found = Predictions.from_json(json.loads((folder / contract.PREDICTIONS_FILE).read_text()))
    probabilities = found.probabilities[contract.FLAT]
    predicted = probabilities.argmax(axis=1)
    return HeldOut(
        probabilities.max(axis=1),
        [classes[index] for index in predicted],
        predicted == found.labels,
    )
