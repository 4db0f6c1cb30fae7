"""Floating-point numbers as TensorFlow Serving prints them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

# Digits after which a number reads back the same (C++'s max_digits10).
_EXACT_DIGITS: Final = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}


def decimal(value: np.floating) -> str:
    """Write a number with six digits where they read back the same, else with as many as it takes.

    `.0` is added to what would look like an integer. NaN and the infinities are bare words,
    which JSON doesn't know but TensorFlow Serving and Python's `json` do.

    Args:
        value: float32 or float64.
    """
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    text = f"{number:.6g}"
    if value.dtype.type(text) != value:
        text = f"{number:.{_EXACT_DIGITS[value.dtype]}g}"
    return text if "." in text or "e" in text else f"{text}.0"
