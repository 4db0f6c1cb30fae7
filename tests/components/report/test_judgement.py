"""Figures of a model, from answers that are made up, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from common.runtime import prepare_environment

prepare_environment()

from components.report.answers import TestAnswers  # noqa: E402
from components.report.comparison import (  # noqa: E402
    against_paper,
    mcnemar_two_sided,
    pairs,
)
from components.report.judgement import judge  # noqa: E402

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
rows = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(34, 100))


def _answers(images: list[tuple[int, int, int]]) -> TestAnswers:
    """Of (label, predicted class, its probability in hundredths)."""
    probabilities = np.array(
        [
            [sure / 100 if c == predicted else (100 - sure) / 200 for c in range(3)]
            for _, predicted, sure in images
        ],
        np.float32,
    ).astype(np.float64)
    return TestAnswers(
        sha256=tuple(f"{index:03d}" for index in range(len(images))),
        labels=np.array([label for label, _, _ in images]),
        probabilities=probabilities,
    )


@given(st.lists(rows, min_size=1, max_size=60))
def test_figures_are_scikit_learns(images: list[tuple[int, int, int]]) -> None:
    answers = _answers(images)
    labels, predicted = answers.labels, answers.predicted
    figures = judge(answers, CLASSES)
    assert figures["accuracy"]["value"] == metrics.accuracy_score(labels, predicted)
    assert (
        figures["confusion"]
        == metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2]).tolist()
    )
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=[0, 1, 2], zero_division=np.nan
    )
    for index, one in enumerate(figures["classes"].values()):
        for found, expected in (
            (one["precision"]["value"], precision[index]),
            (one["recall"]["value"], recall[index]),
            (one["f1"], f1[index]),
        ):
            if found is None:
                assert np.isnan(expected)
            else:
                assert found == pytest.approx(expected, abs=1e-12)
        assert one["recall"]["total"] == support[index]
        if support[index] in (0, len(images)):
            assert one["auc"] is None
        else:
            score = answers.probabilities[:, index]
            assert one["auc"] == metrics.roc_auc_score(labels == index, score)
    bins = figures["calibration"]["bins"]
    assert sum(one["accuracy"]["total"] for one in bins) == len(images)
    gaps = [
        one["accuracy"]["total"] * abs(one["accuracy"]["value"] - one["confidence"]) for one in bins
    ]
    assert figures["calibration"]["ece"] == pytest.approx(sum(gaps) / len(images), abs=1e-9)
    coverage = [row["coverage"] for row in figures["coverage"]]
    assert coverage[0] == 1
    assert coverage == sorted(coverage, reverse=True)


def test_two_models_are_compared_on_the_images_that_tell_them_apart() -> None:
    right, wrong = (0, 0, 90), (0, 1, 90)
    first = _answers([right] * 9 + [wrong])
    second = _answers([wrong] * 8 + [right, wrong])
    (pair,) = pairs({"a": first, "b": second})
    assert (pair["only_first_right"], pair["only_second_right"]) == (8, 0)
    # Eight coins, all on one side or all on the other.
    assert pair["p"] == pytest.approx(2 / 2**8)
    assert pair["significant"]
    assert mcnemar_two_sided(0, 0) == 1
    with pytest.raises(ValueError, match="a and b"):
        pairs({"a": first, "b": _answers([right])})


def test_the_paper_is_other_images() -> None:
    found = against_paper("vgg16", 122, 129, CLASSES)
    assert found is not None
    assert (found["accuracy"]["count"], found["accuracy"]["total"]) == (122, 129)
    assert found["p"] == 1
    assert not found["significant"]
    worse = against_paper("densenet121", 100, 129, CLASSES)
    assert worse is not None and worse["significant"]
    assert against_paper("ensemble", 129, 129, CLASSES) is None
