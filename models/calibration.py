"""Makes probabilities mean what they say, and tells when to say nothing.

NumPy and SciPy only: what is computed here once, on the validation split, ends up as a
number or two in a SavedModel.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar

# Below float32's smallest normal number, where a logarithm turns into minus infinity.
TINY: Final = 1.2e-38
# Where every validation image is right, the likelihood grows for ever as T falls, though
# that says nothing about how sure to be of a new image: 1/5 makes 60 % : 40 % 88 % : 12 %
# and no more. From 20 on all classes are alike.
MIN_TEMPERATURE: Final = 0.2
MAX_TEMPERATURE: Final = 20.0
# No probability reaches it.
ABSTAIN_ALWAYS: Final = 2.0
# float64 has 15 to 17.
_DIGITS = 15


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the T for which softmax(log p / T) fits the labels best.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2: T
    minimises the negative log-likelihood on the validation split. That is convex in 1/T,
    so there is one minimum. It is looked for between MIN_TEMPERATURE and MAX_TEMPERATURE;
    where all images are right (no minimum) the lower bound is the answer, unless the
    likelihood can't be told from 1 already.

    Args:
        probabilities: float [images, n].
        labels: int [images].

    Returns:
        T; never worse than 1, which is the answer where nothing is gained.

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    logits = np.log(np.maximum(_checked(probabilities, labels), TINY))

    def loss(log_temperature: float) -> float:
        return _cross_entropy(logits / math.exp(log_temperature), labels)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # The search never tries the ends themselves. The first of equals: no change.
    best = min((0.0, float(found.x), *bounds), key=loss)
    return math.exp(best)


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Compute softmax(log p / T); p is cut off at TINY as in `models.classifier.CalibratedHead`.

    Args:
        probabilities: float [images, n].
        temperature: T > 0; below 1 surer, above 1 less sure. The order of the classes stays.

    Returns:
        float64 [images, n].
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), TINY)) / temperature
    scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = scaled / scaled.sum(axis=-1, keepdims=True)
    return result


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean of -log p(true class), in nats; p is cut off at TINY, so it is finite.

    Args:
        probabilities: float [images, n].
        labels: int [images].

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    of_label = _checked(probabilities, labels)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, TINY)).mean())


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """Compute how far confidence and accuracy lie apart, 0..1.

    Guo et al. 2017, equation 3: images are sorted by their highest probability into bins
    of equal width ((m-1)/bins, m/bins], and the distances between a bin's accuracy and its
    mean confidence are averaged, weighted by the bins' images.

    Args:
        probabilities: float [images, n].
        labels: int [images].
        bins: how many.

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    p = _checked(probabilities, labels)
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def coverage_curve(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Compute what is answered, and how well, if only sure answers are given.

    Args:
        probabilities: float [images, n].
        labels: int [images].

    Returns:
        `threshold`, `coverage` (share of images whose highest probability is at least the
        threshold) and `accuracy` (of those) at each distinct highest probability, ascending:
        from coverage 1 down to the surest images alone.

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    thresholds, answered, right = _counts(probabilities, labels)
    rows = zip(thresholds.tolist(), answered.tolist(), right.tolist(), strict=True)
    return [
        {"threshold": t, "coverage": n / len(labels), "accuracy": good / n} for t, n, good in rows
    ]


def abstain_threshold(
    probabilities: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> float:
    """Find the lowest confidence at which the answers are right often enough.

    It is chosen on the validation split. How well it does is to be judged on the test
    split: the accuracy reached here is that of the best of many thresholds.

    Any number between two neighbouring confidences parts the images alike; of those, the
    one with the fewest decimals is returned, so that it lies off the images' own
    confidences, which rounding moves.

    Args:
        probabilities: float [images, n].
        labels: int [images].
        target_accuracy: of the images whose highest probability is at least the threshold.

    Returns:
        0.0 where all images together reach the target, ABSTAIN_ALWAYS where no threshold
        does.

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    thresholds, answered, right = _counts(probabilities, labels)
    reached = np.flatnonzero(right / answered >= target_accuracy)
    if not len(reached):
        return ABSTAIN_ALWAYS
    first = int(reached[0])
    return round_between(float(thresholds[first - 1]), float(thresholds[first])) if first else 0.0


def round_between(below: float, at_most: float) -> float:
    """Find the number between two others with the fewest decimals, from two on.

    Args:
        below: lower end, at least 0.
        at_most: upper end; the answer where float64 has nothing round in between.
    """
    for digits in range(2, _DIGITS):
        rounded = (math.ceil(at_most * 10**digits) - 1) / 10**digits
        if below < rounded < at_most:
            return rounded
    return at_most


def validation_report(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    n_classes: int,
    temperature: float,
    uncalibrated: np.ndarray,
    abstain_accuracy: float,
) -> dict[str, Any]:
    """Build the content of validation.json, the same for a backbone and a combination.

    Args:
        probabilities: calibrated, float [images, n]; of the validation split.
        labels: int [images].
        n_classes: n.
        temperature: with which they were calibrated.
        uncalibrated: the same before.
        abstain_accuracy: the target of `abstain_threshold`.

    Returns:
        What JSON can hold: `accuracy`, `loss` (cross-entropy, nats), `total` (images),
        `confusion` (rows true, columns predicted), `temperature`, `ece` (`before` and
        `after`) and `abstain` (`threshold`, `target`, `coverage`, `accuracy`, null where
        nothing is answered, and `curve`).

    Raises:
        ValueError: no images, or shapes or labels that don't fit.
    """
    p = _checked(probabilities, labels)
    if p.shape[1] != n_classes:
        raise ValueError(f"probabilities: {p.shape[1]} columns for {n_classes} classes")
    predicted = p.argmax(axis=-1)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    threshold = abstain_threshold(p, labels, abstain_accuracy)
    curve = coverage_curve(p, labels)
    at_threshold = next((row for row in curve if row["threshold"] >= threshold), None)
    return {
        "accuracy": float((predicted == labels).mean()),
        "loss": negative_log_likelihood(p, labels),
        "total": len(labels),
        "confusion": confusion.tolist(),
        "temperature": float(temperature),
        "ece": {
            "before": expected_calibration_error(uncalibrated, labels),
            "after": expected_calibration_error(p, labels),
        },
        "abstain": {
            "threshold": threshold,
            "target": abstain_accuracy,
            "coverage": at_threshold["coverage"] if at_threshold else 0.0,
            "accuracy": at_threshold["accuracy"] if at_threshold else None,
            "curve": curve,
        },
    }


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the images, without the rounding of a softmax close to 1."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=-1))
    return float((total - shifted[np.arange(len(labels)), labels]).mean())


def _counts(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count images at or above each distinct confidence, ascending, and right ones among them."""
    p = _checked(probabilities, labels)
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
    thresholds, index = np.unique(confidence, return_inverse=True)
    images = np.bincount(index, minlength=len(thresholds))
    good = np.bincount(index, weights=right, minlength=len(thresholds)).astype(np.int64)
    return thresholds, images[::-1].cumsum()[::-1], good[::-1].cumsum()[::-1]


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p):
        raise ValueError(f"probabilities: shape {p.shape} instead of [images, n]")
    if np.shape(labels) != p.shape[:1]:
        raise ValueError(f"labels: shape {np.shape(labels)} for {len(p)} images")
    if np.min(labels) < 0 or np.max(labels) >= p.shape[1]:
        raise ValueError(f"labels: not all are in 0..{p.shape[1] - 1}")
    return p
