"""Heads that are judged out of fold, and then fitted to all images that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from models.convex import History
from models.cross_validation import assign_folds, out_of_fold
from models.head_rows import Taps
from models.heads import apply_head
from models.input_gate import InputGate
from models.training_data import ImageTaps, TapData
from schema import contract

# Training and validation rows, and whether these are the last heads and not a fold's -> heads by
# their names, and the history of the flat one.
FitHeads = Callable[[TapData, bool], tuple[Mapping[str, keras.Model], History]]


@dataclass(frozen=True)
class Fitted:
    """Heads, and by which answers they are judged.

    Attributes:
        heads: the finished ones, not calibrated yet.
        history: metric name -> value per epoch or iteration, of the flat head.
        answers: head -> its probabilities, of images that it was not fitted to, float64
            [images, n]; where there are folds, these are of other heads of the same recipe.
        labels: of these images, int64 [images].
        sha256: of these images.
        folds: how many; 0 where the images were held out.
        own: where there are folds: head -> what the finished one says of these images.
        gate: for images that are none of this task; None where no pixels are known.
    """

    heads: Mapping[str, keras.Model]
    history: History
    answers: Mapping[str, np.ndarray]
    labels: np.ndarray
    sha256: tuple[str, ...]
    folds: int = 0
    own: Mapping[str, np.ndarray] = field(default_factory=dict)
    gate: InputGate | None = None


def refit(images: ImageTaps, seed: int, fit_heads: FitHeads) -> Fitted:
    """Fit heads fold by fold, to judge them, and then to all images.

    Args:
        images: of all splits that are fitted.
        seed: of the folds.
        fit_heads: fits heads that need no image to stop by.

    Returns:
        The heads of all images. `val_` in the history is out of fold: the mean over the
        images of what the heads of their folds said at that iteration.

    Raises:
        InputError: a class has images of one patient alone.
    """
    curves: list[tuple[int, History]] = []

    def fit_and_answer(fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        taps = images.split(fitted, asked)
        heads, history = fit_heads(taps, False)
        curves.append((len(asked), history))
        return {name: answers_of(head, taps.validation[0]) for name, head in heads.items()}

    folds = assign_folds(images.labels, images.groups, seed)
    answers = out_of_fold(folds, fit_and_answer)
    everything = np.arange(len(images.labels))
    taps = images.split(everything, everything)
    heads, history = fit_heads(taps, True)
    return Fitted(
        heads,
        with_folds(history, curves),
        answers,
        images.labels,
        images.sha256,
        len(curves),
        {name: answers_of(head, taps.validation[0]) for name, head in heads.items()},
    )


def with_folds(history: History, curves: Sequence[tuple[int, History]]) -> History:
    """Build a history of the last fit whose validation curves are those of the folds.

    Args:
        history: of the last fit, by a solver.
        curves: of each fold: the images that it answered, and its history.

    Returns:
        As long as the longest of them: a fit that ended stays where it is.
    """
    iterations = contract.HISTORY_ITERATION
    longest = max(len(each[iterations]) for each in (history, *(curve for _, curve in curves)))

    def stretched(values: Sequence[float]) -> np.ndarray:
        return np.pad(np.asarray(values, float), (0, longest - len(values)), mode="edge")

    whole = {iterations: [float(step) for step in range(longest)]}
    for metric in history.keys() - {iterations}:
        if metric.startswith("val_"):
            rows = np.stack([stretched(curve[metric]) for _, curve in curves])
            values = np.average(rows, axis=0, weights=[count for count, _ in curves])
        else:
            values = stretched(history[metric])
        whole[metric] = values.tolist()
    return {metric: whole[metric] for metric in history}


def answers_of(head: keras.Model, taps: Taps) -> np.ndarray:
    """Return the probabilities of a head that is not calibrated, float64 [images, n].

    Args:
        head: of `models.heads`.
        taps: {tap: float32 [images, channels]}.
    """
    tensors = {name: tf.constant(values) for name, values in taps.items()}
    answers: np.ndarray = apply_head(head, tensors, training=False).numpy().astype(np.float64)
    return answers
