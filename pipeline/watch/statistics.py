"""Distances that know how many images they are from, and intervals of what is to be expected."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

# Beyond so many images, the sum of the chances is as good as normal, and the exact one is slow.
_EXACT: Final = 5_000


@dataclass(frozen=True)
class Distance:
    """The distance between two samples of one feature.

    Attributes:
        images: of the first sample.
        value: 0..1, the largest difference between their distributions.
        p: of a value as large where both come from one source.
    """

    images: int
    value: float
    p: float


def of_numbers(now: Sequence[float], before: Sequence[float]) -> Distance:
    """Compare two samples of a number.

    The distance is Kolmogorov's and Smirnov's, the largest difference of the two empirical
    distribution functions; its p-value is exact where samples are small (Hodges 1958). Ties, as of
    an image's width, make it larger than it is, so that there are fewer alarms and not more.

    Args:
        now: at least one value.
        before: likewise.
    """
    with warnings.catch_warnings():
        # SciPy says so where it takes the asymptotic value instead.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ks_2samp(now, before)
    return Distance(len(now), float(found.statistic), float(found.pvalue))


def of_texts(now: Sequence[str], before: Sequence[str]) -> Distance:
    """Compare two samples of a text.

    The distance is the largest difference of a value's shares, which is TFDV's. Its p-value is that
    of Fisher's exact test (1922) for the value of which chance is the least likely explanation,
    times the number of values, since each was looked at (Bonferroni).

    Args:
        now: at least one value.
        before: likewise.
    """
    counts, sizes = (Counter(now), Counter(before)), (len(now), len(before))
    values = sorted(counts[0] | counts[1])
    largest, least = 0.0, 1.0
    for value in values:
        with_it = counts[0][value], counts[1][value]
        largest = max(largest, abs(with_it[0] / sizes[0] - with_it[1] / sizes[1]))
        without = sizes[0] - with_it[0], sizes[1] - with_it[1]
        least = min(least, float(stats.fisher_exact([with_it, without])[1]))
    # Of two values, one says all that the other says.
    looked_at = len(values) if len(values) > 2 else 1
    return Distance(len(now), largest, min(1.0, looked_at * least))


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for being several (Holm 1979).

    Where there is no difference at all, the least of them is below α in no more than a share of α
    of the cases, whatever the features have to do with each other.

    Args:
        p_values: feature -> p-value.
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    found, largest = {}, 0.0
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p_values[name]))
        found[name] = largest
    return found


def expected_right(confidences: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Compute how many answers are to be expected right, of calibrated confidences.

    Each answer is right with its own chance, so the number of right ones has the Poisson binomial
    distribution; its quantiles are the interval. That is chance alone: that confidences are
    calibrated for these images is taken for granted. NannyML calls this CBPE; Garg and others
    (2022) show that no method can do without such an assumption.

    Args:
        confidences: of the answers, 0..1; at least one.
        level: of the interval.

    Returns:
        Mean, lower and upper end of the share of right answers, 0..1.
    """
    chances = np.asarray(confidences, np.float64)
    count = len(chances)
    mean = float(chances.mean())
    tail = (1 - level) / 2
    if count > _EXACT:
        half = float(stats.norm.ppf(1 - tail)) * float(np.sqrt((chances * (1 - chances)).sum()))
        return mean, max(0.0, mean - half / count), min(1.0, mean + half / count)
    chance_of = np.ones(1)
    for chance in chances:
        chance_of = np.convolve(chance_of, (1 - chance, chance))
    below = np.cumsum(chance_of)
    low = int(np.searchsorted(below, tail))
    high = min(count, int(np.searchsorted(below, 1 - tail)))
    return mean, low / count, high / count


def weighted_share(right: Sequence[bool], weights: Sequence[float]) -> tuple[float, float, float]:
    """Estimate a share of all images from those that a design chose.

    Args:
        right: of each chosen image.
        weights: 1 over its probability of being chosen.

    Returns:
        Hájek's estimate, and its 95 % interval by Clopper and Pearson's formula with the effective
        number of images, (Σw)² / Σw² (Korn and Graubard 1998; Kish 1965).
    """
    weight = np.asarray(weights, np.float64)
    share = float(weight[np.asarray(right, np.bool_)].sum() / weight.sum())
    images = float(weight.sum() ** 2 / (weight**2).sum())
    low = stats.beta.ppf(0.025, share * images, (1 - share) * images + 1) if share > 0 else 0.0
    high = stats.beta.ppf(0.975, share * images + 1, (1 - share) * images) if share < 1 else 1.0
    return share, float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Test by McNemar, two-sided and exact, whether two are right equally often on the same images.

    Args:
        only_first: images that the first alone has right.
        only_second: images that the second alone has right.

    Returns:
        The p-value; 1 where both are right on the same images.
    """
    total = only_first + only_second
    return float(stats.binomtest(only_first, total, 0.5).pvalue) if total else 1.0
