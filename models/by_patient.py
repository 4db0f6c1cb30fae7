"""Figures of answers where patients are few: intervals over patients, and paired differences.

Images of one patient are no independent witnesses. So what is drawn anew for an interval, and
what an error is computed over, are patients (`contract.GROUP`) and not images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from models.calibration import TINY
from schema import contract

# Fewer patients than this, and an interval is called wide by name.
FEW: Final = contract.FEW_PATIENTS
# Fewer than this, and an error over patients is itself no more than a guess.
LEAST: Final = 10
DRAWS: Final = 1_000
Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval by bootstrap over patients; NaN where it means nothing.

    Attributes:
        value: of all images.
        low: 2.5th percentile of the draws.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return the same with null for NaN."""
        return {k: v if math.isfinite(v) else None for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Difference:
    """By how much one model's answers are better than another's, on the same images.

    Attributes:
        mean: above 0 where the first is better.
        error: its standard error, over patients.
        patients: how many.
    """

    mean: float
    error: float
    patients: int

    @property
    def clear(self) -> bool:
        """True where it is above 0 by more than one standard error, over LEAST patients or more."""
        return self.decides and self.mean > self.error

    @property
    def decides(self) -> bool:
        """True where there are LEAST patients or more."""
        return self.patients >= LEAST

    def as_json(self) -> dict[str, Any]:
        """Return all fields and `clear`; null for an infinite error."""
        error = self.error if math.isfinite(self.error) else None
        return asdict(self) | {"error": error, "clear": self.clear}


def paired(better_by: np.ndarray, groups: Sequence[str]) -> Difference:
    """Compute the mean of differences image by image, and its error patient by patient.

    The error is that of a ratio of sums over patients drawn independently (the sandwich of a
    mean in clusters, with G / (G - 1) for G patients).

    Args:
        better_by: how much better the first model answered each image, float [images].
        groups: of each image.
    """
    mean = float(better_by.mean())
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(numbers, better_by - mean)
    count = len(sums)
    if count < 2:
        return Difference(mean, math.inf, count)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(better_by)
    return Difference(mean, error, count)


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the cross-entropy of each image's answer, nats, float64 [images]."""
    right = probabilities[np.arange(len(labels)), labels]
    found: np.ndarray = -np.log(np.maximum(right, TINY))
    return found


def hits(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Say 1 where the most probable class is right, else 0, float64 [images]."""
    return (probabilities.argmax(axis=1) == labels).astype(np.float64)


def accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Compute the share of images that are answered rightly.

    Args:
        probabilities: float [images, n].
        labels: int [images].
        weights: how often each image counts, float [images].
    """
    return float(weights @ hits(probabilities, labels) / weights.sum())


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Compute the mean over the classes of the share that is right; arguments as `accuracy`'s.

    NaN where a class has no image.
    """
    counts = np.bincount(labels, weights, minlength=probabilities.shape[1])
    if not counts.all():
        return math.nan
    right = np.bincount(labels, weights * hits(probabilities, labels), minlength=len(counts))
    return float((right / counts).mean())


def auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Compute the area under the ROC curve; arguments as `accuracy`'s.

    Of two classes it is that of the second; of more, the mean over the classes of each against
    the rest. NaN where a class has no image.
    """
    n = probabilities.shape[1]
    classes = (1,) if n == 2 else range(n)
    areas = [_area(probabilities[:, one], labels == one, weights) for one in classes]
    return float(np.mean(areas))


def _area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Mann and Whitney's: how often a positive's score is above a negative's, ties by half."""
    places = (rankdata(scores, method="dense") - 1).astype(np.int64)
    of_positive = np.bincount(places, weights * positive)
    of_negative = np.bincount(places, weights * ~positive)
    pairs = of_positive.sum() * of_negative.sum()
    if not pairs:
        return math.nan
    below = np.cumsum(of_negative) - of_negative
    return float(of_positive @ (below + of_negative / 2) / pairs)


FIGURES: Final[Mapping[str, Figure]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auc": auc,
}


def bootstrap(
    figure: Figure,
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Compute a figure and its interval, drawing patients with replacement.

    Draws that lack a class mean nothing for some figures, and are left out.

    Args:
        figure: `accuracy` or the like.
        probabilities: float [images, n].
        labels: int [images].
        groups: of each image.
        seed: of the draws.
        draws: how many.
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        found.append(figure(probabilities, labels, times[numbers].astype(np.float64)))
    kept = np.asarray(found)[np.isfinite(found)]
    low, high = np.percentile(kept, (2.5, 97.5)) if len(kept) else (math.nan, math.nan)
    value = figure(probabilities, labels, np.ones(len(labels)))
    return Interval(value, float(low), float(high))


def figures(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str], seed: int = 0
) -> dict[str, Interval]:
    """Compute all FIGURES with their intervals; arguments as `bootstrap`'s."""
    return {
        name: bootstrap(figure, probabilities, labels, groups, seed=seed)
        for name, figure in FIGURES.items()
    }


def decision_curve(
    probabilities: np.ndarray, labels: np.ndarray, of_class: int, thresholds: Sequence[float]
) -> list[dict[str, float]]:
    """Compute the net benefit of acting on a class's probability (Vickers and Elkin 2006).

    Whoever acts from a probability t on says that a needless act costs t / (1 - t) of what a
    needed one brings. The net benefit is then TP / n - FP / n t / (1 - t).

    Args:
        probabilities: float [images, n], calibrated.
        labels: int [images].
        of_class: on which to act.
        thresholds: each above 0 and below 1.

    Returns:
        For each threshold: `threshold`, `model`, and `all`, where all are acted on. To act on
        none brings 0.
    """
    truth = labels == of_class
    share, curve = float(truth.mean()), []
    for threshold in thresholds:
        odds = threshold / (1 - threshold)
        acted = probabilities[:, of_class] >= threshold
        model = float((acted & truth).mean() - odds * (acted & ~truth).mean())
        curve.append({"threshold": threshold, "model": model, "all": share - odds * (1 - share)})
    return curve


def few_patients(groups: Sequence[str]) -> str | None:
    """Return a sentence where patients are so few that figures say little; else None."""
    count = len(set(groups))
    if count >= FEW:
        return None
    return (
        f"These figures stand on {count} patient{'' if count == 1 else 's'}: the intervals are "
        "wide, and another hospital's patients may well lie outside them."
    )
