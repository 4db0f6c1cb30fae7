"""A regularised head fitted by L-BFGS and by Keras, on the same features (`make bench-heads`).

The features are drawn: as many as DenseNet121's of one training, correlated as a network's are.
Both are measured in CPU seconds, since the machine may do other things meanwhile; what says how
near either comes to the minimum is the training loss with its penalty.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from models.fitting import History, fit_in_batches, fit_on_taps
from models.head_rows import Taps
from models.heads import build_head
from models.hyperparameters import HeadParams, TrainingParams
from models.training_data import TapData
from schema import contract

_CLASSES: Final = 3
# In which images differ, each less than the one before, as in a network's features.
_DIRECTIONS: Final = 300
_VALIDATION: Final = 159
_L2: Final = 0.007

Fit = Callable[..., History]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the CPU seconds and the losses of either."""
    parser = argparse.ArgumentParser(description=__doc__)
    # 369 images in six augmentations; conv3, conv4_16 and conv4_16_max.
    parser.add_argument("--rows", type=int, default=2214)
    parser.add_argument("--channels", type=int, default=1792)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    data = TapData(draw(args.rows, args.channels, 0), draw(_VALIDATION, args.channels, 1))
    medians = {}
    for name, fit in (("Keras", fit_in_batches), ("L-BFGS", fit_on_taps)):
        runs = [measure(fit, data) for _ in range(args.repeats)]
        medians[name] = statistics.median(seconds for seconds, _ in runs)
        _, history = runs[-1]
        steps, kept = "iterations", -1
        if contract.HISTORY_ITERATION not in history:
            steps, kept = "epochs", int(np.argmin(history["val_loss"]))
        print(
            f"{name:<8} median {medians[name]:.2f} CPU s, {len(history['loss'])} {steps}, "
            f"loss {history['loss'][kept]:.6f}, of validation {history['val_loss'][kept]:.6f}"
        )
    print(f"ratio of the medians: {medians['Keras'] / medians['L-BFGS']:.1f}")


def draw(rows: int, channels: int, seed: int) -> tuple[Taps, np.ndarray]:
    """Draw features of three classes that overlap.

    Args:
        rows: how many.
        channels: of the one tap.
        seed: of the rows; the directions are always the same.

    Returns:
        {tap: float32 [rows, channels]}, labels int64 [rows].
    """
    mixing = np.random.default_rng(7).normal(size=(_DIRECTIONS, channels))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, _CLASSES, rows)
    hidden = rng.normal(size=(rows, _DIRECTIONS)) * (1 + np.arange(_DIRECTIONS)) ** -0.75
    hidden[np.arange(rows), 10 + labels] += 0.5
    noise = 0.3 * rng.normal(size=(rows, channels))
    return {"last": (hidden @ mixing + noise).astype(np.float32)}, labels


def measure(fit: Fit, data: TapData) -> tuple[float, History]:
    """Fit a new head by the default recipe.

    Args:
        fit: `fit_on_taps`, or a function with its arguments.
        data: training and validation.

    Returns:
        CPU seconds, and the history.
    """
    params = TrainingParams(head=HeadParams(l2=_L2))
    head = build_head(params.head, data.channels(), _CLASSES, data.moments(), 0)
    started = time.process_time()
    history = fit(head, data.training, data.validation, params, seed=0)
    return time.process_time() - started, history


if __name__ == "__main__":
    main()
