"""Figures by patient: the paired error, the bootstrap, the area, the decision curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from models import by_patient
from models.by_patient import bootstrap, decision_curve, few_patients, figures, paired


def test_the_error_is_that_of_patients_and_not_of_images() -> None:
    rng = np.random.default_rng(0)
    of_patient = rng.normal(0.3, 1, 40)
    once = paired(of_patient, [f"p{n}" for n in range(40)])
    assert once.error == pytest.approx(of_patient.std(ddof=1) / math.sqrt(40))
    # The same said five times by each patient is no further evidence.
    five = paired(np.repeat(of_patient, 5), [f"p{n}" for n in range(40) for _ in range(5)])
    assert (five.mean, five.error) == pytest.approx((once.mean, once.error))
    assert five.patients == 40


def test_clear_is_more_than_one_error_over_enough_patients() -> None:
    assert by_patient.Difference(0.2, 0.1, by_patient.LEAST).clear
    assert not by_patient.Difference(0.2, 0.1, by_patient.LEAST - 1).clear
    assert not by_patient.Difference(0.1, 0.1, by_patient.LEAST).clear
    assert not by_patient.Difference(-0.2, 0.1, by_patient.LEAST).clear
    alone = paired(np.ones(3), ["p"] * 3)
    assert not alone.clear
    assert alone.as_json() == {"mean": 1.0, "error": None, "patients": 1, "clear": False}


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_figures_are_scikit_learns(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(30) % classes)
    # Few different values: ties.
    raw = rng.integers(1, 5, (30, classes)).astype(float)
    answers = raw / raw.sum(axis=1, keepdims=True)
    times = rng.integers(0, 3, 30).astype(float)
    times[:classes] += 1
    times[[np.flatnonzero(labels == c)[0] for c in range(classes)]] += 1
    expected = np.mean(
        [
            roc_auc_score(labels == c, answers[:, c], sample_weight=times)
            for c in ([1] if classes == 2 else range(classes))
        ]
    )
    assert by_patient.auc(answers, labels, times) == pytest.approx(expected)
    found = by_patient.balanced_accuracy(answers, labels, times)
    theirs = balanced_accuracy_score(labels, answers.argmax(axis=1), sample_weight=times)
    assert found == pytest.approx(theirs)


def test_a_class_without_an_image_has_no_area() -> None:
    answers = np.array([[0.2, 0.8], [0.4, 0.6]])
    labels = np.array([1, 1])
    assert math.isnan(by_patient.auc(answers, labels, np.ones(2)))
    assert math.isnan(by_patient.balanced_accuracy(answers, labels, np.ones(2)))
    interval = bootstrap(by_patient.auc, answers, labels, ["a", "b"], draws=5)
    assert interval.as_json() == {"value": None, "low": None, "high": None}


def test_few_patients_make_the_interval_wide_however_many_images_they_have() -> None:
    rng = np.random.default_rng(1)
    right = np.repeat(rng.random(20) < 0.7, 10)
    answers = np.where(right[:, np.newaxis], [[0.9, 0.1]], [[0.1, 0.9]])
    labels = np.zeros(200, int)
    by_twenty = bootstrap(
        by_patient.accuracy, answers, labels, [f"p{n}" for n in range(20) for _ in range(10)]
    )
    by_each = bootstrap(by_patient.accuracy, answers, labels, [f"p{n}" for n in range(200)])
    assert by_twenty.value == by_each.value == right.mean()
    assert by_twenty.high - by_twenty.low > 2 * (by_each.high - by_each.low)
    assert by_twenty.low < by_twenty.value < by_twenty.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        share = rng.beta(4, 2, 60)
        right = rng.random((60, 3)) < share[:, np.newaxis]
        answers = np.where(right.reshape(-1, 1), [[0.9, 0.1]], [[0.1, 0.9]])
        interval = bootstrap(
            by_patient.accuracy, answers, np.zeros(180, int),
            [f"p{n}" for n in range(60) for _ in range(3)], seed=seed, draws=200,
        )  # fmt: skip
        held += interval.low <= 4 / 6 <= interval.high
    assert 86 <= held <= 100


def test_all_figures_have_their_names() -> None:
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = figures(answers, np.array([0, 1, 0]), ["a", "b", "c"])
    assert set(found) == {"accuracy", "balanced_accuracy", "auc"}
    assert found["auc"].value == 1.0


def test_the_decision_curve_is_vickers_and_elkins() -> None:
    answers = np.array([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.95, 0.05]])
    labels = np.array([1, 0, 1, 0])
    (half, low) = decision_curve(answers, labels, 1, [0.5, 0.2])
    assert half == {"threshold": 0.5, "model": pytest.approx(0.0), "all": pytest.approx(0.0)}
    assert low["model"] == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert low["all"] == pytest.approx(0.5 - 0.25 * 0.5)


def test_few_patients_are_said_to_be_few() -> None:
    assert few_patients([f"p{n}" for n in range(100)]) is None
    found = few_patients(["p1", "p2", "p1"])
    assert found is not None
    assert found.startswith("These figures stand on 2 patients: the intervals are wide")
