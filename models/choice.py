"""The choice of the best of several models, by their answers to images they were not fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from models.predictions import Predictions, aligned

Prefer = Literal["accurate", "cheap"]


def choose(candidates: Mapping[str, Predictions], prefer: Prefer = "accurate") -> str | None:
    """Choose the model to take.

    The log loss decides, and not the accuracy: on some hundred images the best accuracy of
    several models is luck, and it knows no difference between hardly right and surely right.
    All are compared on the images that each of them answered.

    Args:
        candidates: name -> calibrated answers.
        prefer: `accurate`: the lowest log loss. `cheap`: of the models whose log loss is
            within one standard error (of the difference, image by image) of the lowest,
            the one with the fewest multiply-adds.

    Returns:
        Its name; of equals the cheaper one, then the first in the alphabet; None of none.
    """
    if not candidates:
        return None
    names = sorted(candidates)
    same = dict(zip(names, aligned([candidates[name] for name in names]), strict=True))
    losses = {name: answers.losses() for name, answers in same.items()}

    def by_loss(name: str) -> tuple[float, int, str]:
        return float(losses[name].mean()), same[name].multiply_adds, name

    best = min(names, key=by_loss)
    if prefer == "accurate":
        return best
    near = [name for name in names if _is_within_one_error(losses[name] - losses[best])]
    return min(near, key=lambda name: (same[name].multiply_adds, *by_loss(name)))


def _is_within_one_error(differences: np.ndarray) -> bool:
    count = len(differences)
    error = differences.std(ddof=1) / math.sqrt(count) if count > 1 else math.inf
    return bool(differences.mean() <= error)
