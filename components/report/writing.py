"""Writes the report's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Final

import tensorflow as tf

from components.report import data_figures, figures, filing, table
from components.report.beside import Drawing, DrawnBeside
from components.report.content import Content, gather, read_json
from components.report.drawing import Picture, style
from components.report.filing_sections import filing_of
from components.report.gallery import show
from components.report.images import read_files
from components.report.page import render, render_filing
from components.report.sources import ReportSources
from components.software import needed_packages
from schema import contract

PAGE_FILE: Final = "index.html"
NUMBERS_FILE: Final = "report.json"
ANSWERS_FILE: Final = "answers.json"
FIGURES_FOLDER: Final = "figures"
FILING_PAGE: Final = "filing.html"
FILING_DATA: Final = "filing.json"


def write_report(sources: ReportSources, folder: str) -> Content:
    """Compute and write the whole report.

    Args:
        sources: the artifacts of a run.
        folder: of the report, local or remote; made where it isn't there. In it: PAGE_FILE,
            NUMBERS_FILE (every number of the page), ANSWERS_FILE (model -> digests, labels
            and probabilities of the test images), FIGURES_FOLDER with PNGs, and FILING_PAGE and
            FILING_DATA, for whoever must file the model.

    Returns:
        What was written.

    Raises:
        KeyError: an evaluation from before answers were kept.
    """
    content = gather(sources)
    numbers = content.numbers
    with DrawnBeside(list(_of_models(content))) as beside:
        with style():
            of_images = list(_of_images(sources, content))
        rows = numbers["errors"], numbers["read_rightly"]
        gallery = show(sources, *rows, content.facts, numbers["classes"])
        pictures = {one.name: one for one in (*beside.pictures(), *of_images)}
    card = _card(sources, content.main)
    _write_filing(sources, content, folder)
    _write(folder, PAGE_FILE, render(content, pictures, gallery, card).encode("utf-8"))
    _write(folder, NUMBERS_FILE, _json(numbers))
    _write(folder, ANSWERS_FILE, _json(_raw(content)))
    for one in pictures.values():
        _write(f"{folder}/{FIGURES_FOLDER}", f"{one.name}.png", one.png)
    return content


def _write_filing(sources: ReportSources, content: Content, folder: str) -> None:
    card = sources.model(content.main).card
    documents = {
        filing.CARD: read_json(card, contract.MODEL_CARD_DATA_FILE) if card else None,
        filing.REPORT: content.numbers,
        filing.AUDIT: content.numbers["audit"],
        filing.MANIFEST: read_json(sources.manifest, "summary.json"),
        filing.SETTINGS: sources.settings,
    }
    page = filing_of(content.main, documents, needed_packages())
    _write(folder, FILING_PAGE, render_filing(page).encode("utf-8"))
    _write(folder, FILING_DATA, _json(page.to_json()))


def _of_models(content: Content) -> Iterator[Drawing]:
    """Say which figures are drawn of the models' numbers alone."""
    numbers, classes = content.numbers, content.numbers["classes"]
    yield Drawing(figures.accuracies, (numbers["models"],))
    for name, model in numbers["models"].items():
        yield Drawing(figures.confusion, (name, model["confusion"], classes))
        yield Drawing(figures.curves, (name, model["classes"]))
        yield Drawing(figures.calibration, (name, model["calibration"], model["coverage"]))
        if model["history"]:
            folds = model["validation"]["folds"]
            yield Drawing(figures.history, (name, model["history"], folds))
    main = numbers["models"][content.main]
    yield Drawing(figures.slice_accuracies, (main["slices"], content.main))
    for name, model in numbers["models"].items():
        if model["parts"]:
            yield Drawing(table.parts, (name, model["parts"]))
    if numbers["of_table"] and numbers["of_table"]["compared"]:
        curve = numbers["of_table"]["compared"]["decision_curve"]
        yield Drawing(table.decision_curve, (curve, classes))


def _of_images(sources: ReportSources, content: Content) -> Iterator[Picture]:
    """Draw the figures of the images and of what the audit found."""
    numbers, classes = content.numbers, content.numbers["classes"]
    yield data_figures.image_statistics(content.facts, classes)
    yield data_figures.columns(numbers["data"]["columns"], classes)
    yield data_figures.contact_sheet(_sheet(sources, content))
    if numbers["audit"]:
        yield data_figures.shortcuts(numbers["audit"]["shortcuts"], 1 / len(classes))


def _sheet(sources: ReportSources, content: Content) -> dict[str, list[bytes]]:
    """Choose some test images of each class, by their digests."""
    each = data_figures.sheet_images(len(content.numbers["classes"]))
    chosen = {
        name: sorted(
            f.sha256 for f in content.facts if f.label == label and f.split == contract.SPLIT_TEST
        )[:each]
        for label, name in enumerate(content.numbers["classes"])
    }
    wanted = {digest for digests in chosen.values() for digest in digests}
    found = read_files(sources.examples, contract.SPLIT_TEST, wanted)
    return {name: [found[digest] for digest in digests] for name, digests in chosen.items()}


def _card(sources: ReportSources, model: str) -> str | None:
    uri = sources.model(model).card
    if uri is None:
        return None
    with tf.io.gfile.GFile(os.path.join(uri, contract.MODEL_CARD_FILE)) as file:
        text: str = file.read()
    return text


def _raw(content: Content) -> dict[str, Any]:
    return {
        name: {
            "sha256": list(answers.sha256),
            "labels": answers.labels.tolist(),
            "probabilities": answers.probabilities.tolist(),
        }
        for name, answers in content.answers.items()
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("utf-8")


def _write(folder: str, name: str, content: bytes) -> None:
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(os.path.join(folder, name), "wb") as file:
        file.write(content)
