"""Class names for tables and figures, where there are too many or they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# More columns, a class each, can't be read.
MOST_COLUMNS: Final = 12
# Of the confusions, where there is no table of all.
SHOWN_CONFUSIONS: Final = 20
# Letters of a name that a figure has room for.
LONGEST_NAME: Final = 28


@dataclass(frozen=True)
class Confused:
    """The number of times that one class is taken for another.

    Attributes:
        true: name of the class.
        predicted: name of the one it is taken for.
        count: images.
        total: images of the true class.
    """

    true: str
    predicted: str
    count: int
    total: int


def most_confused(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], most: int = SHOWN_CONFUSIONS
) -> list[Confused]:
    """Find the most frequent mistakes, the most frequent first.

    Args:
        confusion: counts [n, n], rows true, columns predicted.
        classes: n names in label order.
        most: so many at most.
    """
    found = [
        Confused(classes[row], classes[column], count, sum(counts))
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: -one.count)[:most]


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Shorten a name to so many letters: its beginning, an ellipsis and its end.

    Names that begin alike often differ at their end.
    """
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - end - 1].rstrip()}…{name[-end:].lstrip()}"


def named(classes: Sequence[str]) -> str:
    """List the names, or say how many there are where a line has no room for them."""
    return ", ".join(classes) if len(classes) <= MOST_COLUMNS else f"{len(classes)} classes"
