"""The form in which figures are written, wherever a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float | None, digits: int = 1) -> str:
    """0.9457 -> "94.6 %"; "–" for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def interval(ends: Sequence[float] | None) -> str:
    """Write [0.892, 0.973] as "89.2–97.3 %"; None as "–"."""
    return "–" if ends is None else f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with decimals; None as "–"."""
    return "–" if value is None else f"{value:.{digits}f}"


def spread(share: Mapping[str, Any]) -> str:
    """Write a share as "83.3 % (95 % interval 60.8–94.2 %)"."""
    return f"{percent(share['value'])} (95 % interval {interval(share['wilson95'])})"


def counted(count: int, what: str) -> str:
    """Write 1 as "1 image", and 3 as "3 images"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """Write ["a", "b", "c"] as "a, b and c"; an empty list as ""."""
    *first, last = items or ("",)
    return f"{', '.join(first)} and {last}" if first else last
