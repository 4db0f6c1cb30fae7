"""A share with its interval, as cards have it."""

from __future__ import annotations

from dataclasses import dataclass

from common.intervals import wilson95


@dataclass(frozen=True)
class Share:
    """Some of all.

    Attributes:
        count: 0..total.
        total: of images.
        value: count / total; None where total is 0.
        wilson95: its 95 % Wilson score interval (`common.intervals`); None where total is 0.
    """

    count: int
    total: int
    value: float | None
    wilson95: list[float] | None

    @classmethod
    def of(cls, count: int, total: int, interval: list[float] | None = None) -> Share:
        """Compute the share with its interval.

        Args:
            count: 0..total.
            total: of images.
            interval: over patients, in place of the one over images.
        """
        if not total:
            return cls(count, total, None, None)
        return cls(count, total, count / total, interval or wilson95(count, total))
