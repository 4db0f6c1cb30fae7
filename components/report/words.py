"""How figures are written."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float | None) -> str:
    """0.9457 -> "94.6 %"; "–" for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def interval(ends: Sequence[float] | None) -> str:
    """[0.892, 0.973] -> "89.2–97.3 %"; "–" for None."""
    return "–" if ends is None else f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Decimals; "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"
