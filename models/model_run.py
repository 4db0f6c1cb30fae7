"""The files that a training leaves beside its model: those of a `model_run`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.predictions import write_predictions
from models.training import Trained
from schema import contract


def write_model_run(directory: str, trained: Trained, recipe: Mapping[str, Any]) -> None:
    """Write history, recipe, validation and predictions.

    Args:
        directory: local or remote; made where it isn't there.
        trained: what a training came to.
        recipe: how it was trained, in what JSON can hold.
    """
    history = {name: [_or_null(v) for v in values] for name, values in trained.history.items()}
    write_json(directory, contract.HISTORY_FILE, history)
    write_json(directory, contract.TRAINING_FILE, recipe)
    write_json(directory, contract.VALIDATION_FILE, trained.validation)
    write_predictions(directory, trained.predictions)


def write_json(directory: str, name: str, value: Mapping[str, Any]) -> None:
    """Write one file into a folder, which is made where it isn't there."""
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, name), "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)


def _or_null(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
