"""What is counted: against scikit-learn, and sums that must agree with each other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
)

from common.runtime import prepare_environment
from components.radiograph_example_gen.cleaning import Cleaned, CleanImage
from components.radiograph_example_gen.discovery import Discovery, Kind, LeftOut
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.manifest import Summary
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.selection import Usable
from components.radiograph_example_gen.settings import ClassFolders, Limits, Settings
from models.backbones import BACKBONES

prepare_environment()

from common.intervals import wilson95  # noqa: E402
from pipeline.check.images import ImagePool  # noqa: E402
from pipeline.study.outcomes import Outcome  # noqa: E402
from pipeline.study.report import model_report, study_report  # noqa: E402
from pipeline.study.tables import github_table, main_rows, markdown  # noqa: E402

CLASSES = ("COVID-19", "Normal", "Viral Pneumonia")
IMAGES = 30


def _image(number: int) -> CleanImage:
    name = CLASSES[number % 3]
    inspection = Inspection(f"{name}/{number}|.png", name, sha256=f"{number:064x}")
    row = Row(number, inspection.path, text={"view": "AP" if number % 2 else "PA"})
    return CleanImage(inspection, row if number % 5 else None, frozenset(), "")


def _pool() -> ImagePool:
    images = tuple(_image(number) for number in range(IMAGES))
    left_out = (LeftOut("x.png", Kind.BAD, "truncated"),)
    return ImagePool(
        Settings(
            "data",
            None,
            tuple(ClassFolders(name, (name,)) for name in CLASSES),
            0,
            Limits(),
            Fraction(1, 5),
            Fraction(3, 10),
        ),
        Usable(Discovery((), (), {}), Cleaned(images, (), 0), left_out),
    )


POOL = _pool()


@st.composite
def _outcomes(draw: st.DrawFn) -> list[Outcome]:
    outcomes = []
    for seed in range(draw(st.integers(1, 4))):
        numbers = draw(st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=12, unique=True))
        generator = np.random.default_rng(draw(st.integers(0, 2**32)))
        probabilities = generator.dirichlet([0.5] * 3, len(numbers))
        threshold = draw(st.sampled_from([0.0, 0.5, 0.9, 2.0]))
        outcomes.append(
            Outcome(
                seed=seed,
                validation={
                    "accuracy": 0.9,
                    "loss": 0.2,
                    "abstain": {"threshold": threshold, "target": 0.99},
                },
                sha256=tuple(f"{number:064x}" for number in numbers),
                labels=np.array([number % 3 for number in numbers]),
                probabilities=probabilities,
                multiply_adds=10.0 * (seed + 1),
            )
        )
    return outcomes


@settings(max_examples=60)
@given(outcomes=_outcomes())
def test_the_figures_are_scikit_learns_and_agree_with_each_other(outcomes: list[Outcome]) -> None:
    report = model_report("vgg16", outcomes, POOL, "imagenet")
    labels = np.concatenate([o.labels for o in outcomes])
    predicted = np.concatenate([o.probabilities.argmax(axis=1) for o in outcomes])
    accuracies = [accuracy_score(o.labels, o.probabilities.argmax(axis=1)) for o in outcomes]
    assert report["mean"] == pytest.approx(np.mean(accuracies))
    if len(outcomes) == 1:
        assert report["sd"] is None
    else:
        assert report["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert report["confusion"] == confusion_matrix(labels, predicted, labels=range(3)).tolist()
    assert (
        np.sum([s["confusion"] for s in report["per_seed"]], axis=0).tolist()
        == (report["confusion"])
    )
    assert report["correct"] == accuracy_score(labels, predicted, normalize=False)
    wrong = report["total"] - report["correct"]
    assert sum(pair["count"] for pair in report["pairs"]) == wrong
    assert sum(error["wrong"] for error in report["errors"]) == wrong
    for counts in report["slices"].values():
        assert sum(c["total"] for c in counts.values()) == report["total"]
        assert sum(c["correct"] for c in counts.values()) == report["correct"]
    assert report["multiply_adds"] == pytest.approx(5 * (len(outcomes) + 1))


@settings(max_examples=60)
@given(outcomes=_outcomes())
def test_abstaining_counts_the_images_at_or_above_each_seeds_own_threshold(
    outcomes: list[Outcome],
) -> None:
    answered = [
        (int(label == p.argmax()))
        for o in outcomes
        for label, p in zip(o.labels, o.probabilities, strict=True)
        if p.max() >= o.validation["abstain"]["threshold"]
    ]
    abstain = model_report("vgg16", outcomes, POOL, None)["abstain"]
    assert (abstain["answered"], abstain["correct"]) == (len(answered), sum(answered))
    if answered:
        assert abstain["accuracy"] == pytest.approx(np.mean(answered))
    else:
        assert (abstain["accuracy"], abstain["wilson95"]) == (None, None)


@settings(max_examples=60)
@given(outcomes=_outcomes())
def test_each_image_once_weighs_an_image_by_itself_and_not_by_its_tests(
    outcomes: list[Outcome],
) -> None:
    tests: dict[str, list[bool]] = {}
    for o in outcomes:
        for sha256, label, p in zip(o.sha256, o.labels, o.probabilities, strict=True):
            tests.setdefault(sha256, []).append(bool(label == p.argmax()))
    distinct = model_report("vgg16", outcomes, POOL, None)["distinct"]
    assert distinct["images"] == len(tests)
    accuracy = np.mean([np.mean(goods) for goods in tests.values()])
    assert distinct["accuracy"] == pytest.approx(accuracy)
    low, high = distinct["wilson95"]
    assert 0 <= low <= high <= 1
    # Not narrower than what as many images as there are can give, whatever was pooled.
    assert distinct["wilson95"] == wilson95(round(distinct["accuracy"] * len(tests)), len(tests))


def _outcome(correct: int, total: int, seed: int = 0, **fields: Any) -> Outcome:
    """`correct` images of `total` right; the others are called the next class."""
    labels = np.array([number % 3 for number in range(total)])
    said = np.where(np.arange(total) < correct, labels, (labels + 1) % 3)
    return Outcome(
        seed=seed,
        validation={
            "accuracy": 0.9,
            "loss": 0.2,
            "abstain": {"threshold": 0.5, "target": 0.99},
            **fields.pop("validation", {}),
        },
        sha256=tuple(f"{number:064x}" for number in range(total)),
        labels=labels,
        probabilities=np.eye(3)[said],
        multiply_adds=1e9,
        **fields,
    )


def test_the_papers_figures_are_those_of_its_confusion_matrices() -> None:
    found = {
        name: (row.paper_result.correct, row.paper_result.total)
        for name, row in BACKBONES.items()
        if row.paper_result
    }
    assert found == {"vgg16": (122, 129), "xception": (123, 129), "densenet121": (127, 129)}
    for row in BACKBONES.values():
        assert row.paper_result is None or list(map(sum, row.paper_result.confusion)) == [43] * 3


def _summary(seed: int) -> Summary:
    return Summary(
        classes=CLASSES,
        seed=seed,
        fractions={},
        images_found=dict.fromkeys(CLASSES, 10),
        images_clean=dict.fromkeys(CLASSES, 10),
        images_per_class=10,
        split_counts={name: {"train": 6, "eval": 2, "test": 2} for name in CLASSES},
        left_out={},
        duplicates_dropped=0,
        patients={},
        images_without_patient=0,
        patients_in_two_splits=0,
        digest="d",
        sources={},
        licences={},
        deviations=(
            {
                "class_name": "Normal",
                "split": "test",
                "wanted": 2,
                "got": 1,
                "reason": "patients",
            },
        ),
    )


@pytest.fixture
def report() -> dict[str, Any]:
    """Two seeds, DenseNet121 with weights of its own; with the second none passed the gate."""
    outcomes = {
        0: {
            "densenet121": _outcome(28, 30),
            "cascade": _outcome(29, 30, passed_on=0.25, validation={"cascade": {"threshold": 0.7}}),
            "champion": _outcome(29, 30, model="cascade"),
        },
        4: {
            "densenet121": _outcome(24, 30, seed=4),
            "cascade": _outcome(
                27, 30, seed=4, passed_on=0.75, validation={"cascade": {"threshold": 0.8}}
            ),
        },
    }
    figures = study_report(
        outcomes, [_summary(0), _summary(4)], POOL, {"densenet121": "densenet121_mine_notop.h5"}
    )
    return {
        **figures,
        "date": "2026-01-02",
        "machine": {"cpu": "A CPU", "cores": 2},
        "code": {"commit": "a" * 40, "changed": True},
        "engine": {"name": "tensorflow", "version": "2.16"},
        "preset": "fast",
        "results": 2,
        "reused": 1,
        "seconds": {"total": 12.0, "training": 8.0},
    }


def test_the_table_says_whose_weights_they_were_and_what_was_missed(report: dict[str, Any]) -> None:
    rows = {row[0]: row for row in main_rows(report)}
    assert rows["densenet121"][1:5] == [
        "densenet121_mine_notop.h5, not ImageNet",
        "86.67 % ± 9.43",
        "80.00 %–93.33 %",
        "52/60",
    ]
    assert rows["densenet121"][-1] == "98.45 % (127/129)"
    assert rows["cascade"][-1] == "–"
    text = markdown(report)
    assert "| 4 | 24/30 | 27/30 | none passed |" in text
    assert "| 0 | 28/30 | 29/30 | 29/30 (cascade) |" in text
    assert "commit aaaaaaa with changes" in text
    assert "seed 4: Normal, test: 1 instead of 2: patients" in text
    assert "Left out: bad 1" in text
    assert report["champions"] == {"0": "cascade", "4": None}
    assert report["models"]["cascade"]["passed_on"] == 0.5


def test_every_table_of_the_markdown_has_a_cell_for_each_heading(report: dict[str, Any]) -> None:
    """Names of images may hold a bar, which would end a cell."""
    widths: list[int] = []
    for line in [*markdown(report).splitlines(), ""]:
        if line.startswith("|"):
            widths.append(line.replace("\\|", "").count("|"))
        elif widths:
            assert len(set(widths)) == 1
            widths = []
    assert github_table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_code_outside_a_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.study import machine

    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    assert machine.describe_code() is None
    assert machine.describe_machine()["cores"] >= 1
