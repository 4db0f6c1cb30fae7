"""Confidence intervals of what is counted."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson(correct: int, total: int, confidence: float = 0.95) -> list[float]:
    """Compute the Wilson score interval (Wilson 1927) of a share.

    Args:
        correct: 0..total.
        total: at least 1.
        confidence: of the interval, both sides together.

    Returns:
        Lower and upper end, 0..1.
    """
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return [float(interval.low), float(interval.high)]


def wilson95(correct: int, total: int) -> list[float]:
    """Compute the 95 % Wilson score interval of a share (see `wilson`)."""
    return wilson(correct, total)
