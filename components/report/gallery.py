"""Test images with what the models made of them: every error, and some that were read rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from components.report.answers import TestAnswers
from components.report.heat_maps import Answer, heat_maps
from components.report.images import ImageFacts, read_files
from components.report.sources import ReportSources
from models.backbones import BACKBONES
from schema import contract
from schema.class_tables import MOST_COLUMNS
from serving.explained import overlay

# More would make the page too heavy to open; the JSON lists all.
SHOWN_ERRORS: Final = 150
# Of those that are read rightly; with more classes, not each has one.
SHOWN_RIGHT: Final = 2 * MOST_COLUMNS
# Of the probabilities of many classes; ANSWERS_FILE has all.
_MOST_PROBABLE: Final = 5


@dataclass(frozen=True)
class Shown:
    """A test image on the page.

    Attributes:
        facts: what is known of it.
        content: the image file.
        overlays: model -> the image with the heat map of that model's answer.
    """

    facts: ImageFacts
    content: bytes
    overlays: dict[str, Image.Image]


def errors(
    answers: Mapping[str, TestAnswers], facts: Sequence[ImageFacts], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """List every test image that at least one model reads wrongly.

    Args:
        answers: model -> its answers, all to the same images.
        facts: of all images.
        classes: names in label order.

    Returns:
        `path`, `sha256`, `label`, `columns`, and `answers`: model -> `predicted`,
        `probabilities` (by class; of many classes the true one's and the largest) and whether
        that is `right`; what most models read wrongly comes first.
    """
    known = {f.sha256: f for f in facts}
    rows = []
    for index, digest in enumerate(next(iter(answers.values())).sha256):
        if all(model.right[index] for model in answers.values()):
            continue
        rows.append(_row(known[digest], index, answers, classes))
    return sorted(rows, key=lambda row: (-_wrong(row), row["path"]))


def examples_read_rightly(
    answers: TestAnswers, model: str, facts: Sequence[ImageFacts], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Choose of each class the image of which one model is surest, and the least sure one.

    Of more than MOST_COLUMNS classes, half of SHOWN_RIGHT are the surest of their class and the
    other half the least sure ones.

    Args:
        answers: of the model.
        model: its name.
        facts: of all images.
        classes: names in label order.

    Returns:
        Rows as those of `errors`.
    """
    known = {f.sha256: f for f in facts}
    confidence = answers.probabilities.max(axis=1)
    surest, least = [], []
    for label in range(len(classes)):
        right = np.flatnonzero(answers.right & (answers.labels == label))
        ordered = right[np.argsort(-confidence[right], kind="stable")]
        surest += ordered[:1].tolist()
        least += ordered[-1:].tolist()
    if len(classes) > MOST_COLUMNS:
        half = SHOWN_RIGHT // 2
        surest = sorted(surest, key=lambda index: -confidence[index])[:half]
        least = sorted(least, key=lambda index: confidence[index])[:half]
    chosen = sorted(
        dict.fromkeys((*surest, *least)), key=lambda i: (answers.labels[i], -confidence[i])
    )
    return [_row(known[answers.sha256[i]], i, {model: answers}, classes) for i in chosen]


def _row(
    facts: ImageFacts, index: int, answers: Mapping[str, TestAnswers], classes: Sequence[str]
) -> dict[str, Any]:
    return {
        "path": facts.path,
        "sha256": facts.sha256,
        "label": classes[facts.label],
        "columns": facts.columns,
        "answers": {
            name: {
                "predicted": classes[int(model.predicted[index])],
                "probabilities": _probabilities(model, index, classes),
                "right": bool(model.right[index]),
            }
            for name, model in answers.items()
        },
    }


def _probabilities(model: TestAnswers, index: int, classes: Sequence[str]) -> dict[str, float]:
    values = model.probabilities[index]
    shown = list(range(len(classes)))
    if len(classes) > MOST_COLUMNS:
        largest = np.argsort(-values, kind="stable")[:_MOST_PROBABLE].tolist()
        shown = list(dict.fromkeys((*largest, int(model.labels[index]))))
    return {classes[label]: float(values[label]) for label in shown}


def _wrong(row: Mapping[str, Any]) -> int:
    return sum(not answer["right"] for answer in row["answers"].values())


def show(
    sources: ReportSources,
    wrong: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    facts: Sequence[ImageFacts],
    classes: Sequence[str],
) -> dict[str, Shown]:
    """Show the images of the rows, each with heat maps.

    Args:
        sources: the models and the images.
        wrong: rows of `errors`: explained by each backbone that is wrong, and by the champion.
            An ensemble's map is the mean of its members', so other combinations have none.
        right: rows of `examples_read_rightly`: explained by the model that answered.
        facts: of all images.
        classes: names in label order.

    Returns:
        Digest -> what is shown.
    """
    shown = [*wrong[:SHOWN_ERRORS], *right]
    files = read_files(sources.examples, contract.SPLIT_TEST, {row["sha256"] for row in shown})
    known = {f.sha256: f for f in facts}
    gallery = {digest: Shown(known[digest], content, {}) for digest, content in files.items()}
    wanted = {
        model.name: _explained_by(
            model.name, sources.champion, wrong[:SHOWN_ERRORS], right, classes
        )
        for model in sources.models
    }
    for name, maps in heat_maps(sources.models, wanted, files).items():
        for digest, heat in maps.items():
            gallery[digest].overlays[name] = overlay(files[digest], heat)
    return gallery


def _explained_by(
    model: str,
    champion: str | None,
    wrong: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
) -> list[Answer]:
    """List the answers that one model explains, each once."""
    rows = [row for row in right if model in row["answers"]]
    if model == champion or model in BACKBONES:
        rows += [row for row in wrong if model == champion or not row["answers"][model]["right"]]
    answers = (
        Answer(row["sha256"], classes.index(row["answers"][model]["predicted"])) for row in rows
    )
    return list(dict.fromkeys(answers))
