"""Temperature, calibration error, and the threshold below which a model abstains."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from models.calibration import (
    ABSTAIN_ALWAYS,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    abstain_threshold,
    apply_temperature,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    round_between,
    validation_report,
)

Answers = tuple[np.ndarray, np.ndarray]


@st.composite
def answers(draw: st.DrawFn, max_images: int = 40) -> Answers:
    """Probabilities and labels; some models know something, some nothing, some lie."""
    seed = draw(st.integers(0, 2**32 - 1))
    images, n = draw(st.integers(1, max_images)), draw(st.integers(2, 4))
    knowledge, sureness = draw(st.floats(-3, 5)), draw(st.floats(0.0, 8))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n, images)
    logits = rng.normal(size=(images, n))
    logits[np.arange(images), labels] += knowledge
    logits *= sureness
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    # Ties, as between images that a saturated network can't tell apart.
    decimals = draw(st.sampled_from([2, 16]))
    p = np.round(p / p.sum(axis=-1, keepdims=True), decimals) + 1e-300
    return p / p.sum(axis=-1, keepdims=True), labels


@given(answers(), st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE))
def test_a_temperature_changes_no_answer(given_answers: Answers, temperature: float) -> None:
    p, _ = given_answers
    scaled = apply_temperature(p, temperature)
    assert scaled.dtype == np.float64
    np.testing.assert_allclose(scaled.sum(axis=-1), 1, atol=1e-12)
    second, first = np.sort(p, axis=-1)[:, -2:].T
    clear = first - second > 1e-12
    assert (scaled.argmax(axis=-1) == p.argmax(axis=-1))[clear].all()
    surer = scaled.max(axis=-1) - first
    assert (surer >= -1e-12).all() if temperature <= 1 else (surer <= 1e-12).all()


@given(answers())
def test_temperature_one_changes_nothing_and_temperatures_add_up(given_answers: Answers) -> None:
    p, _ = given_answers
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, atol=1e-12)
    twice = apply_temperature(apply_temperature(p, 3.0), 0.5)
    np.testing.assert_allclose(twice, apply_temperature(p, 1.5), atol=1e-9)


@settings(max_examples=40)
@given(answers())
def test_the_fitted_temperature_is_the_best_of_a_grid(given_answers: Answers) -> None:
    p, labels = given_answers
    fitted = fit_temperature(p, labels)
    assert MIN_TEMPERATURE * (1 - 1e-12) <= fitted <= MAX_TEMPERATURE * (1 + 1e-12)
    loss = negative_log_likelihood(apply_temperature(p, fitted), labels)
    assert loss <= negative_log_likelihood(p, labels) + 1e-12
    grid = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 200)
    brute = min(negative_log_likelihood(apply_temperature(p, t), labels) for t in grid)
    # The likelihood of few images is flat at its minimum, so it is compared, not T.
    assert loss <= brute + 1e-9
    assert fit_temperature(p, labels) == fitted


def test_a_temperature_that_was_put_on_is_found_again() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 20_000)
    labels = np.array([rng.choice(3, p=row) for row in p])
    assert fit_temperature(p, labels) == pytest.approx(1, abs=0.05)
    for temperature in (0.5, 3.0):
        distorted = apply_temperature(p, 1 / temperature)
        assert fit_temperature(distorted, labels) == pytest.approx(temperature, rel=0.05)
        before = expected_calibration_error(distorted, labels)
        after = expected_calibration_error(apply_temperature(distorted, temperature), labels)
        assert after < 0.02 < before


@pytest.mark.parametrize(
    ("p", "labels", "temperature"),
    [
        ([[0.6, 0.4], [0.3, 0.7]], [0, 1], MIN_TEMPERATURE),  # all right: the surer, the better
        ([[0.6, 0.4], [0.3, 0.7]], [1, 0], MAX_TEMPERATURE),  # all wrong
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], 1.0),  # nothing to gain
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1], 1.0),  # nothing to change
        ([[1.0, 0.0]], [1], MAX_TEMPERATURE),  # sure and wrong: log 0 doesn't matter
    ],
)
def test_where_the_likelihood_has_no_minimum_the_temperature_is_bounded(
    p: list[list[float]], labels: list[int], temperature: float
) -> None:
    assert fit_temperature(np.array(p), np.array(labels)) == pytest.approx(temperature)


def test_the_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.45, 0.55]])
    labels = np.array([0, 1, 0, 0])
    # Two bins: (0, 0.5] is empty, (0.5, 1] holds all: accuracy 1/2, confidence 0.7.
    assert expected_calibration_error(p, labels, bins=2) == pytest.approx(0.2)
    # Five: 0.55 and 0.55 are in (0.4, 0.6], 0.8 in (0.6, 0.8], 0.9 in (0.8, 1].
    expected = (abs(1 - 1.1) + abs(0 - 0.8) + abs(1 - 0.9)) / 4
    assert expected_calibration_error(p, labels, bins=5) == pytest.approx(expected)
    assert expected_calibration_error(np.eye(2), np.array([0, 1])) == 0


@given(answers())
def test_the_curve_counts_the_images_at_or_above_each_confidence(given_answers: Answers) -> None:
    p, labels = given_answers
    curve = coverage_curve(p, labels)
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
    assert [row["threshold"] for row in curve] == sorted(set(confidence))
    for row in curve:
        kept = confidence >= row["threshold"]
        assert row["coverage"] == kept.mean()
        assert row["accuracy"] == right[kept].mean()
    assert curve[0]["coverage"] == 1
    assert all(a["coverage"] > b["coverage"] for a, b in pairwise(curve))


@given(answers(), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
@settings(max_examples=150)
def test_the_threshold_is_the_lowest_that_is_right_often_enough(
    given_answers: Answers, target: float
) -> None:
    p, labels = given_answers
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
    threshold = abstain_threshold(p, labels, target)
    kept = confidence >= threshold
    if threshold == ABSTAIN_ALWAYS:
        assert not kept.any()
    else:
        assert right[kept].mean() >= target
    # Brute force: every threshold that would let more images through falls short.
    for lower in confidence[~kept]:
        assert right[confidence >= lower].mean() < target
    assert (threshold == 0) == (right.mean() >= target)


@given(st.floats(0, 1), st.floats(0, 1))
@example(0.99, 1.0)
@example(0.994, 0.9951)
@example(1 - 2**-53, 1.0)
def test_the_roundest_number_parts_the_images_alike(a: float, b: float) -> None:
    assume(a != b)
    below, at_most = sorted((a, b))
    rounded = round_between(below, at_most)
    assert below < rounded <= at_most


def test_the_roundest_number_has_as_few_decimals_as_possible() -> None:
    assert round_between(0.42, 0.4356) == 0.43
    assert round_between(0.9912, 0.9937) == 0.993
    # Not the upper end itself, though it is rounder: that is an image's own confidence.
    assert round_between(0.999, 1.0) == 0.9999
    assert round_between(0.9, 1.0) == 0.99
    assert round_between(1 - 2**-53, 1.0) == 1.0


@settings(max_examples=40)
@given(answers())
def test_the_report_is_json_and_agrees_with_its_parts(given_answers: Answers) -> None:
    p, labels = given_answers
    temperature = fit_temperature(p, labels)
    calibrated = apply_temperature(p, temperature)
    report = validation_report(
        calibrated,
        labels,
        n_classes=p.shape[1],
        temperature=temperature,
        uncalibrated=p,
        abstain_accuracy=0.95,
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    confusion = np.array(report["confusion"])
    assert confusion.sum() == report["total"] == len(labels)
    assert confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=p.shape[1]).tolist()
    assert report["accuracy"] == pytest.approx(np.trace(confusion) / len(labels))
    assert report["loss"] == negative_log_likelihood(calibrated, labels)
    assert report["ece"] == {
        "before": expected_calibration_error(p, labels),
        "after": expected_calibration_error(calibrated, labels),
    }
    abstain = report["abstain"]
    answered = calibrated.max(axis=-1) >= abstain["threshold"]
    assert abstain["coverage"] == answered.mean()
    if answered.any():
        right = calibrated.argmax(axis=-1) == labels
        assert abstain["accuracy"] == right[answered].mean() >= abstain["target"] == 0.95
    else:
        assert abstain["accuracy"] is None


@pytest.mark.parametrize(
    ("p", "labels", "field"),
    [
        (np.empty((0, 3)), np.empty(0, int), "probabilities"),
        (np.full(3, 1 / 3), np.array([0, 1, 2]), "probabilities"),
        (np.full((2, 3), 1 / 3), np.array([0]), "labels"),
        (np.full((2, 3), 1 / 3), np.array([0, 3]), "labels"),
        (np.full((2, 3), 1 / 3), np.array([-1, 0]), "labels"),
    ],
)
def test_what_does_not_fit_is_named(p: np.ndarray, labels: np.ndarray, field: str) -> None:
    calls = (fit_temperature, negative_log_likelihood, expected_calibration_error, coverage_curve)
    for call in calls:
        with pytest.raises(ValueError, match=f"^{field}: "):
            call(p, labels)
    with pytest.raises(ValueError, match=f"^{field}: "):
        abstain_threshold(p, labels, 0.9)


def test_the_likelihood_is_finite_where_a_probability_is_nil() -> None:
    loss = negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))
    assert math.isfinite(loss)
    assert loss > 80
