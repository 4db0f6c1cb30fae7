"""Confidence intervals of what is counted."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.stats import binomtest, norm


def wilson(correct: int, total: int, confidence: float = 0.95) -> list[float]:
    """Compute the Wilson score interval (Wilson 1927) of a share.

    Args:
        correct: 0..total.
        total: at least 1.
        confidence: of the interval, both sides together.

    Returns:
        Lower and upper end, 0..1.
    """
    return list(_wilson(correct, total, confidence))


# A report asks about the same counts again and again: a class, a slice and a figure have them.
@functools.lru_cache(maxsize=4096)
def _wilson(correct: int, total: int, confidence: float) -> tuple[float, float]:
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def wilson95(correct: int, total: int) -> list[float]:
    """Compute the 95 % Wilson score interval of a share (see `wilson`)."""
    return wilson(correct, total)


def wilson_by_group(
    correct: np.ndarray, total: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Compute the Wilson interval of a share whose trials come in groups, as images of patients.

    Trials of one group are no independent witnesses. So the interval is that of fewer trials: by
    the design effect, the variance over groups beside that of as many independent trials (Korn
    and Graubard 1998), which is at least 1. Where all trials succeed or none does, that variance
    says nothing; then trials of one group count as if each were the same (Kish 1965).

    Args:
        correct: successes of each group, int [groups].
        total: trials of each group, int [groups], each at least 1.
        confidence: of the interval, both sides together.

    Returns:
        Lower and upper end, 0..1; those of `wilson` where each group has one trial.
    """
    trials, groups = int(total.sum()), len(total)
    right = int(correct.sum())
    if groups == trials:
        low, high = wilson(right, trials, confidence)
        return low, high
    share = right / trials
    if right in (0, trials) or groups == 1:
        effect = float((total**2).sum()) / trials
    else:
        off = correct - share * total
        variance = groups / (groups - 1) * float(off @ off) / trials**2
        effect = max(1.0, variance / (share * (1 - share) / trials))
    effective, z = trials / effect, float(norm.ppf((1 + confidence) / 2))
    scale = 1 + z**2 / effective
    middle = (share + z**2 / (2 * effective)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    return max(0.0, middle - half), min(1.0, middle + half)
