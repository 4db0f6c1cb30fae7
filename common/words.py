"""How figures are written, wherever a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float | None, digits: int = 1) -> str:
    """0.9457 -> "94.6 %"; "–" for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def interval(ends: Sequence[float] | None) -> str:
    """[0.892, 0.973] -> "89.2–97.3 %"; "–" for None."""
    return "–" if ends is None else f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Decimals; "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def spread(share: Mapping[str, Any]) -> str:
    """A share as "83.3 % (95 % interval 60.8–94.2 %)"."""
    return f"{percent(share['value'])} (95 % interval {interval(share['wilson95'])})"


def counted(count: int, what: str) -> str:
    """1 -> "1 image", 3 -> "3 images"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"; nothing of nothing."""
    *first, last = items or ("",)
    return f"{', '.join(first)} and {last}" if first else last
