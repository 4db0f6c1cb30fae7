"""Two to a hundred classes, with the names that people give: nothing grows without end."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from common.runtime import prepare_environment

prepare_environment()

from components.report import data_figures, figures  # noqa: E402
from components.report.answers import TestAnswers  # noqa: E402
from components.report.comparison import against_paper  # noqa: E402
from components.report.drawing import MOST_VALUES, Picture, style  # noqa: E402
from components.report.gallery import SHOWN_RIGHT, errors, examples_read_rightly  # noqa: E402
from components.report.images import NUMBERS, ImageFacts  # noqa: E402
from components.report.judgement import judge, share  # noqa: E402
from models.backbones import BACKBONES, PAPER_CLASSES  # noqa: E402
from schema.class_tables import MOST_COLUMNS, most_confused, named, shortened  # noqa: E402
from tests.many_classes import SIXTY, class_names  # noqa: E402

COUNTS = (2, 4, 12, 100)
# Drawing takes seconds. Twelve are the most that all have their names and images in a figure, and
# forty more than any figure gives a place each.
DRAWN = [12, 40, *(pytest.param(count, marks=pytest.mark.long) for count in (2, 100))]
# What a page of 72 rem shows in one piece, with the file's resolution.
WIDEST, HIGHEST = 1900, 2600


def _answers(n_classes: int, each: int = 3) -> TestAnswers:
    generator = np.random.default_rng(n_classes)
    labels = np.repeat(np.arange(n_classes), each)
    probabilities = generator.dirichlet(np.full(n_classes, 0.3), len(labels))
    # Half of them right.
    for row in range(0, len(labels), 2):
        best = probabilities[row].argmax()
        swap = [labels[row], best]
        probabilities[row, swap] = probabilities[row, swap[::-1]]
    return TestAnswers(tuple(f"{row:064x}" for row in range(len(labels))), labels, probabilities)


def _facts(answers: TestAnswers, classes: list[str]) -> list[ImageFacts]:
    return [
        ImageFacts(
            sha256=digest,
            path=f"{classes[label]}/{row}.png",
            split="test",
            label=int(label),
            numbers={name: float(row + place) for place, name in enumerate(NUMBERS)},
            columns={"sex": "MF"[row % 2]},
        )
        for row, (digest, label) in enumerate(zip(answers.sha256, answers.labels, strict=True))
    ]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(buffer, "PNG")
    return buffer.getvalue()


def _check(picture: Picture) -> None:
    """A figure is of a size that can be looked at, and its element is XML."""
    with Image.open(io.BytesIO(picture.png)) as image:
        width, height = image.size
    assert width <= WIDEST and height <= HIGHEST, (picture.name, width, height)
    assert len(picture.svg) < 600_000 and len(picture.alt) < 12_000, picture.name
    assert ElementTree.fromstring(picture.svg).get("aria-label") == picture.alt


@pytest.mark.parametrize("count", DRAWN)
def test_figures_of_a_model(count: int) -> None:
    classes, answers = class_names(count), _answers(count)
    judged = judge(answers, classes)
    assert list(judged["classes"]) == classes
    with style():
        confusion = figures.confusion("vgg16", judged["confusion"], classes)
        _check(confusion)
        curves = figures.curves("vgg16", judged["classes"])
        _check(curves)
        _check(figures.calibration("vgg16", judged["calibration"], judged["coverage"]))
    assert not plt.get_fignums()
    # The whole name stands where there is room for it, however short it is in the picture.
    if 4 <= count <= MOST_COLUMNS:
        assert SIXTY in confusion.alt and f">{SIXTY}<" not in confusion.svg
    assert ("have a colour" in curves.caption) == (count > 6)


@pytest.mark.parametrize("count", DRAWN)
def test_figures_of_the_data(count: int) -> None:
    classes, answers = class_names(count), _answers(count)
    facts = _facts(answers, classes)
    counts = {"sex": {sex: dict.fromkeys(classes, 3) for sex in "FM"}}
    files = {name: [_png()] * data_figures.sheet_images(count) for name in classes}
    found = [
        {
            "name": f"metadata: age, {name} or not", "against_rest": name, "above_chance": True,
            "accuracy": 0.9, "chance": 0.5, "wilson95": [0.8, 0.95],
        }
        for name in classes
    ]  # fmt: skip
    rows = [
        {"feature": "class", "value": name, "images": 30, "accuracy": share(n % 30, 30),
         "too_small": False}
        for n, name in enumerate(classes)
    ]  # fmt: skip
    with style():
        _check(data_figures.image_statistics(facts, classes))
        _check(data_figures.columns(counts, classes))
        _check(data_figures.contact_sheet(files))
        _check(data_figures.shortcuts(found, 1 / count))
        slices = figures.slice_accuracies(rows, "vgg16")
        _check(slices)
    assert slices.alt.count(" of 30") == min(count, MOST_VALUES)


def test_every_image_is_in_the_figure_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """More classes than colours: none is left out of the bars."""
    drawn: list[Any] = []
    barh = plt.Axes.barh

    def remembering(self: plt.Axes, y: Any, width: Any, **settings: Any) -> Any:
        drawn.append(width)
        return barh(self, y, width, **settings)

    monkeypatch.setattr(plt.Axes, "barh", remembering)
    for count in COUNTS:
        drawn.clear()
        classes = class_names(count)
        with style():
            data_figures.columns({"sex": {s: dict.fromkeys(classes, 3) for s in "FM"}}, classes)
        assert np.sum(drawn) == 2 * 3 * count


@pytest.mark.parametrize("count", COUNTS)
def test_cases_stay_few_and_say_the_true_class(count: int) -> None:
    classes, answers = class_names(count), _answers(count)
    facts = _facts(answers, classes)
    rows = errors({"vgg16": answers}, facts, classes)
    right = examples_read_rightly(answers, "vgg16", facts, classes)
    assert len(rows) == (~answers.right).sum() and len(right) <= SHOWN_RIGHT
    for row in (*rows, *right):
        probabilities = row["answers"]["vgg16"]["probabilities"]
        assert {row["label"], row["answers"]["vgg16"]["predicted"]} <= probabilities.keys()
        assert len(probabilities) <= MOST_COLUMNS
    assert len({row["sha256"] for row in right}) == len(right)


def test_curves_of_many_classes_keep_their_corners_alone() -> None:
    answers = _answers(40, each=20)
    of_many = judge(answers, class_names(40))["classes"]
    points = max(len(one["roc"]["true_positive_rate"]) for one in of_many.values())
    assert points <= 2 * 20 + 2 < len(answers.labels)
    assert len(json.dumps(of_many)) < 500_000


def test_the_papers_figures_stand_beside_the_papers_classes_alone() -> None:
    for classes in (class_names(2), class_names(3), class_names(4), [*PAPER_CLASSES, "other"]):
        assert against_paper("vgg16", 9, 10, classes) is None
    turned = [PAPER_CLASSES[index] for index in (2, 0, 1)]
    found = against_paper("vgg16", 9, 10, turned)
    paper = BACKBONES["vgg16"].paper_result
    assert found is not None and paper is not None
    assert found["confusion"][1][2] == paper.confusion[0][1]


def test_the_most_frequent_mistakes_come_first() -> None:
    found = most_confused([[5, 1, 0], [0, 0, 0], [2, 3, 1]], ["a", "b", "c"], most=2)
    assert [(one.true, one.predicted, one.count, one.total) for one in found] == [
        ("c", "b", 3, 6), ("c", "a", 2, 6),
    ]  # fmt: skip


@pytest.mark.parametrize("longest", [10, 28, 60])
def test_a_short_name_keeps_beginning_and_end(longest: int) -> None:
    short = shortened(SIXTY, longest)
    assert len(SIXTY) == 60 and len(short) <= longest
    assert SIXTY.startswith(short.split("…")[0]) and SIXTY.endswith(short.split("…")[-1])
    assert shortened("Tuberculosis", 12) == "Tuberculosis"
    assert named(class_names(2)) == "Tuberculosis, Ödem der Lunge"
    assert named(class_names(100)) == "100 classes"


def _model(answers: TestAnswers, classes: list[str]) -> dict[str, Any]:
    row = {
        "feature": "sex", "value": "F", "images": 30, "accuracy": share(20, 30), "too_small": False,
        "classes": {
            name: {"false_negative_rate": share(1, 3), "false_positive_rate": share(0, 3)}
            for name in classes
        },
    }  # fmt: skip
    return judge(answers, classes) | {
        "blessed": True, "refused_because": None, "paper": None, "baseline": None, "slices": [row],
        "largest_gap": None, "abstain_threshold": 0.5, "members": None, "history": None,
        "input_gate": None,
        "validation": {"total": 9, "accuracy": 0.9, "loss": 0.1, "temperature": 1.0,
                       "ece": {"before": 0.1, "after": 0.1}, "folds": 5, "fitted_to": "both",
                       "judged_on": "train and validation split out of fold (5 folds)"},
    }  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_the_page_has_no_table_wider_than_its_reader(count: int, tmp_path: Path) -> None:
    from components.report.content import Content
    from components.report.findings import SHOWN_FINDINGS
    from components.report.gallery import Shown
    from components.report.page import render
    from components.report.verdict import verdict

    classes, answers = class_names(count), _answers(count)
    facts = _facts(answers, classes)
    models = {name: _model(answers, classes) for name in ("vgg16", "ensemble")}
    of_class = {name: dict.fromkeys(("train", "eval", "test"), 3) for name in classes}
    empty = {key: {"mean": 1.0, "sd": 0.0} for key in NUMBERS}
    numbers: dict[str, Any] = {
        "versions": {}, "classes": classes, "seed": 1, "digest": "d", "champion": None,
        "models": models, "pairs": [], "drift": {}, "span_drift": None, "audit": None,
        "of_table": None,
        "errors": errors({"vgg16": answers}, facts, classes)[:150],
        "read_rightly": examples_read_rightly(answers, "vgg16", facts, classes),
        "data": {
            "summary": {
                "split_totals": {"test": 9}, "remarks": [], "deviations": [
                    {"class_name": n, "split": "test", "got": 1, "wanted": 2, "reason": "few"}
                    for n in classes
                ],
                "images_found": dict.fromkeys(classes, 9), "split_counts": of_class,
                "images_clean": dict.fromkeys(classes, 9), "duplicates_dropped": 0,
                "patients_in_two_splits": None, "images_without_patient": 9,
            },
            "left_out": [], "paper_split": None,
            "statistics": {name: dict.fromkeys(of_class[name], empty) for name in classes},
        },
    }  # fmt: skip
    content = Content(numbers, {"vgg16": answers}, facts)
    numbers["verdict"] = verdict(content.main, numbers)
    names = [f"{m}-{kind}" for m in models for kind in ("confusion", "curves", "calibration")]
    names += ["accuracies", "slices", "contact-sheet", "metadata", "image-statistics"]
    drawn = {name: Picture(name, "", "", "<svg/>", b"") for name in names}
    gallery = {one.sha256: Shown(one, _png(), {}) for one in facts}
    page = render(content, drawn, gallery, None)
    rows = [row.split("</tr>")[0] for row in page.split("<tr")[1:]]
    assert max(row.count("<th") + row.count("<td") for row in rows) <= 2 * MOST_COLUMNS + 5
    assert len(page) < 4_000_000
    assert "<b>opaque" not in page
    for topic in ("Model", "Accuracy", "Compared", "Worst group", "Leaks", "Shortcuts", "Limits"):
        assert len(re.findall(rf'<dt class="weight-[012]">{topic}</dt>', page)) == 1
    groups = numbers["verdict"]["findings"]
    folded = [max(0, len(one["findings"]) - SHOWN_FINDINGS) for one in groups]
    assert re.findall(r'class="more"><summary>(\d+) more', page) == [str(n) for n in folded if n]
    assert page.count('<li class="weight-') == sum(len(one["findings"]) for one in groups)
    assert page.index("What was found") < page.index("Models side by side")
    assert page.count("1 instead of 2 images (few)") == min(count, MOST_COLUMNS)
    assert SIXTY in page or count < 4
