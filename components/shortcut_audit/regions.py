"""The pixels of a thumbnail that are the border, and those that are the lungs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_RING: Final = 1 / 16  # of the side: 2 of 32 pixels
# A superellipse from 5 % to 95 % of width and height. Lungs lie in it with the heart between them:
# 99.9 % of a phantom's lungs, and of the reference radiographs all but a costophrenic angle now
# and then. Generous, since what is left must not be lung.
_HALF: Final = 0.45
_ROUNDNESS: Final = 4


def border(side: int) -> NDArray[np.bool_]:
    """Mark the outer ring, corners included: bool [side, side]."""
    width = max(1, round(side * _RING))
    ring = np.ones((side, side), bool)
    ring[width:-width, width:-width] = False
    return ring


def lung_field(side: int) -> NDArray[np.bool_]:
    """Mark where lungs are in an upright frontal image that the chest fills: bool [side, side]."""
    across = np.abs((np.arange(side) + 0.5) / side - 0.5) / _HALF
    inside: NDArray[np.bool_] = (across[None, :] ** _ROUNDNESS + across[:, None] ** _ROUNDNESS) < 1
    return inside
