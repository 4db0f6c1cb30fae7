"""Floating-point numbers as TensorFlow Serving prints them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

_SHORT_DIGITS: Final = 6
# Digits after which a number reads back the same (C++'s max_digits10).
_EXACT_DIGITS: Final = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}


def decimal(value: np.floating) -> str:
    """Write a number, as `decimals` does.

    Args:
        value: float32 or float64.
    """
    return decimals(np.array([value]))[0]


def decimals(values: np.ndarray) -> list[str]:
    """Write numbers with six digits where they read back the same, else with as many as it takes.

    `.0` is added to what would look like an integer. NaN and the infinities are bare words,
    which JSON doesn't know but TensorFlow Serving and Python's `json` do.

    All at once: a heat map has 65,536, and most of the time went into each as a NumPy number.

    Args:
        values: float32 or float64 [n].
    """
    numbers = values.tolist()
    texts = [f"{number:.{_SHORT_DIGITS}g}" for number in numbers]
    read = np.array(list(map(float, texts))).astype(values.dtype)
    digits = _EXACT_DIGITS[values.dtype]
    for place in np.flatnonzero(read != values).tolist():
        texts[place] = f"{numbers[place]:.{digits}g}"
    texts = [text if "." in text or "e" in text else f"{text}.0" for text in texts]
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[place] = _word(numbers[place])
    return texts


def _word(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
