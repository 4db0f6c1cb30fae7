"""The images that a model was fitted to and is judged by, in words that card and report share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def judged_on(validation: Mapping[str, Any]) -> str:
    """Say by which answers temperature, thresholds and the champion are chosen.

    Args:
        validation: validation.json; from before there were folds, it names none.
    """
    folds = validation.get("folds", 0)
    if not folds:
        return "the validation split"
    return f"train and validation split out of fold ({folds} folds)"


def fitted_to(validation: Mapping[str, Any]) -> str:
    """Say of which images the finished model knows the class.

    Args:
        validation: as above.
    """
    return "train and validation split" if validation.get("folds", 0) else "the train split"
