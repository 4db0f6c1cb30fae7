"""Names that people give classes, as many as are wanted, and answers to images of them."""

from __future__ import annotations

from typing import Final

SIXTY: Final = "A finding whose name goes on and on until it has 60 letters."
_NAMES: Final = (
    *("Tuberculosis", "Ödem der Lunge", "Pneumonia, viral (any)", SIXTY, "no finding"),
    *("No Finding", "50% | <b>opaque</b> & $x_1$", "胸水"),
)


def class_names(count: int) -> list[str]:
    """So many different names, the difficult ones first."""
    more = [f"Finding no. {number}" for number in range(len(_NAMES), count)]
    return [*_NAMES, *more][:count]
