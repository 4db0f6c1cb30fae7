"""Labels, predictions and weights that TFMA's metrics read of an image, read once.

Each metric asks TFMA anew for label, prediction and weight of each image, in each slice that the
image is in, though it asks for the same: a third of an Evaluator's CPU seconds where there are some
hundred answers. Here an image's are kept until the next one comes
(tests/components/evaluator/test_reading.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import binary_confusion_matrices, metric_util

from components.evaluator.swapping import swapped
from components.evaluator.thresholds import COMPARED

_Read = tuple[np.ndarray, np.ndarray, np.ndarray]

_read = metric_util.to_label_prediction_example_weight
# What takes TFMA's function as a default.
_TAKING = (
    binary_confusion_matrices.binary_confusion_matrices,
    binary_confusion_matrices._binary_confusion_matrix_computation,
)


class _Last:
    """The image that was read last."""

    # It, and of it: how it was asked for -> what came of it, and the configuration, which so keeps
    # its place in memory. As one, since there may be threads.
    kept: tuple[Any, dict[Any, tuple[list[_Read], Any]]] = (None, {})


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Have TFMA read so inside the block, where it is a version that was compared."""
    places: list[tuple[object, str, Any]] = [
        (metric_util, "to_label_prediction_example_weight", read)
    ]
    for function in _TAKING:
        defaults = tuple(read if each is _read else each for each in function.__defaults__)
        places.append((function, "__defaults__", defaults))
    try:
        with swapped(COMPARED, *places):
            yield
    finally:
        _Last.kept = None, {}


def read(inputs: Any, *args: Any, **named: Any) -> Iterator[_Read]:
    """Read labels, predictions and weights as TFMA's function; nobody can write into them.

    Args:
        inputs: of an image; the same object may come again.
        args: as TFMA has them.
        named: as TFMA has them.
    """
    config = named.get("eval_config")
    if args or named.get("class_weights"):
        yield from _read(inputs, *args, **named)
        return
    image, known = _Last.kept
    if image is not inputs:
        known = {}
        _Last.kept = inputs, known
    # Of the configuration its place is enough, and quicker.
    key = *named, *(id(value) if value is config else value for value in named.values())
    if key not in known:
        found = [(_fixed(a), _fixed(b), _fixed(c)) for a, b, c in _read(inputs, **named)]
        known[key] = found, config
    yield from known[key][0]


def _fixed(values: np.ndarray) -> np.ndarray:
    seen: np.ndarray = values.view()
    seen.setflags(write=False)
    return seen
