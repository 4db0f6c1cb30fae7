"""Softmax layers fitted by L-BFGS: where nothing in a head is random, its loss is convex.

What Keras' steps on batches come near is computed: the minimum of the mean cross-entropy with
the penalty, over all training rows (an augmentation of an image each) at once. Neither a rate, nor
batches, nor the validation split have a say in it. Where a row has more channels than there are
rows, as with a grid, it is looked for in what the rows span: the same minimum for less work.
"""

from __future__ import annotations

import os
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from scipy.optimize import minimize
from scipy.special import log_softmax

from models.head_rows import Rows, Span, Spans, Taps, rows_of
from models.heads import NOT_ASKED, questions
from schema import contract

History = dict[str, list[float]]

# The minimum is reached where no slope is larger than this share of lambda: weights are then
# off by about as much, since lambda bounds the curvature from below. (On radiographs' features
# no probability was off by more than 2e-5.)
_SLOPE_BY_L2: Final = 1e-5
# Without a penalty there may be no minimum, and the loss falls for ever: here it is left.
_SLOPE: Final = 1e-6
# Steps from which L-BFGS learns the curvature. With SciPy's 10 it takes twice as many.
_MEMORY: Final = 30


class Softmax:
    """The loss of one softmax layer on some rows, and its slope.

    Weights are one vector, as SciPy wants it: the kernel row by row, then the bias.
    """

    def __init__(
        self,
        rows: np.ndarray | Rows,
        targets: np.ndarray,
        l2: float,
        weights: np.ndarray | None = None,
    ) -> None:
        """Take the data, in any order: sums are taken in one that the rows themselves give.

        Args:
            rows: what the layer reads, float [rows, channels], or the same for several layers.
            targets: class of each row; rows that are NOT_ASKED add nothing to the loss, but
                count in its mean.
            l2: lambda of the penalty `lambda * sum(kernel^2)`.
            weights: how much each row counts, float [rows], above 0; all alike where None.
        """
        given = rows if isinstance(rows, Rows) else Rows(rows)
        order = given.order_for(targets)
        asked = targets[order] != NOT_ASKED
        order = order[asked]
        self._rows = given.sorted if asked.all() else given.sorted[asked]
        self._targets = targets[order]
        self._count = len(targets)
        self._weights = None
        if weights is not None:
            self._weights = weights[order].astype(np.float64) / weights.mean(dtype=np.float64)
        self._l2 = l2
        self._at, self._logs = np.empty(0), np.empty(0)

    @property
    def channels(self) -> int:
        """Number of the rows' channels."""
        return int(self._rows.shape[1])

    def span(self, spans: Spans) -> Span | None:
        """Find where the minimum lies: in what the rows span, as the penalty wants no more.

        Args:
            spans: those found before.

        Returns:
            None where there are no fewer rows than channels.
        """
        count, channels = self._rows.shape
        return spans.of(self._rows) if count < channels else None

    def project(self, span: Span) -> None:
        """Go on with the rows' coordinates: as many channels as the span has dimensions."""
        own = span.is_of(self._rows)
        self._rows = span.own_coordinates() if own else span.coordinates(self._rows)

    def loss(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean cross-entropy with the penalty, in nats, and its slope along each weight."""
        kernel, logs = self._answer(weights)
        slope = np.exp(logs)
        slope[np.arange(len(slope)), self._targets] -= 1.0
        slope /= self._count
        if self._weights is not None:
            slope *= self._weights[:, np.newaxis]
        of_kernel = self._rows.T @ slope + 2.0 * self._l2 * kernel
        return self._loss(kernel, logs), np.concatenate([of_kernel.ravel(), slope.sum(axis=0)])

    def judge(self, weights: np.ndarray) -> tuple[float, float]:
        """Compute the loss, as above, and the share of all rows that are answered rightly."""
        kernel, logs = self._answer(weights)
        right = logs.argmax(axis=1) == self._targets
        return self._loss(kernel, logs), float(self._sum(right) / self._count)

    def _answer(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = weights.reshape(self._rows.shape[1] + 1, -1)
        # L-BFGS ends each iteration where it last asked for the loss.
        if not np.array_equal(weights, self._at):
            self._at = weights.copy()
            self._logs = log_softmax(self._rows @ table[:-1] + table[-1], axis=1)
        return table[:-1], self._logs

    def _loss(self, kernel: np.ndarray, logs: np.ndarray) -> float:
        of_target = logs[np.arange(len(logs)), self._targets]
        return float(self._l2 * (kernel**2).sum() - self._sum(of_target) / self._count)

    def _sum(self, values: np.ndarray) -> Any:
        return values.sum() if self._weights is None else self._weights @ values


def fit(
    head: keras.Model,
    training: tuple[Taps, np.ndarray],
    validation: tuple[Taps, np.ndarray] | None,
    *,
    l2: float,
    iterations: int,
    healthy: int | None = None,
    continued: bool = False,
    log_dir: str | None = None,
    spans: Spans | None = None,
    weights: np.ndarray | None = None,
) -> History:
    """Fit a head of standardised taps and softmax layers, without dropout.

    Args:
        head: of `models.heads`.
        training: {tap: float32 [rows, channels]}, labels int64 [rows].
        validation: the same, of the validation images; the history alone asks for them, and has
            no `val_` where None.
        l2: as in `HeadParams`.
        iterations: at most.
        healthy: index of the healthy class, where the head is a hierarchical one.
        continued: begin with the head's weights. Else it begins with none at all, so that
            what no training row shows has no weight in the end.
        log_dir: where TensorBoard logs go; none where None.
        spans: what was found for other heads on the same rows; new ones are put in.
        weights: how much each training row counts, float [rows], above 0; all alike where None.

    Returns:
        Metric name -> value per iteration, the start's first, and HISTORY_ITERATION. Of
        a hierarchical head: its last layer's.

    Raises:
        FloatingPointError: a feature is no number.
    """
    history: History = {}
    spans = spans or Spans()
    unseen = {} if validation is None else questions(validation[1], healthy)
    for name, targets in questions(training[1], healthy).items():
        layer = head.get_layer(name)
        read = keras.Model(head.input, layer.input)
        problem = Softmax(spans.read(read, training[0]), targets, l2, weights)
        beside = None
        if validation is not None:
            beside = Softmax(rows_of(read, validation[0], "validation"), unseen[name], l2)
        kernel, bias = (each.astype(np.float64) * float(continued) for each in layer.get_weights())
        span = problem.span(spans)
        if span is not None:
            for part in (problem, beside):
                if part is not None:
                    part.project(span)
            if continued:
                kernel = span.coordinates(kernel.T).T
            else:
                kernel = np.zeros((span.dimensions, kernel.shape[1]))
        start = np.vstack([kernel, bias])
        found, history = minimise(problem, beside, start, l2, iterations)
        kernel = found[:-1] if span is None else span.from_coordinates(found[:-1])
        layer.set_weights([kernel, found[-1]])
    if log_dir is not None:
        log(history, log_dir)
    return history


def minimise(
    problem: Softmax, beside: Softmax | None, start: np.ndarray, l2: float, iterations: int
) -> tuple[np.ndarray, History]:
    """Find the weights at the minimum.

    Args:
        problem: the loss of the training rows.
        beside: of the validation rows, for the history alone.
        start: float64 [channels + 1, classes].
        l2: lambda of the penalty.
        iterations: at most.

    Returns:
        The weights, float64 [channels + 1, classes], and the way there (see `fit`).
    """
    history: History = {contract.HISTORY_ITERATION: []}
    judged = {"": problem} | ({} if beside is None else {"val_": beside})

    def remember(weights: np.ndarray) -> None:
        count = history[contract.HISTORY_ITERATION]
        count.append(float(len(count)))
        for prefix, data in judged.items():
            for metric, value in zip(("loss", "accuracy"), data.judge(weights), strict=True):
                history.setdefault(f"{prefix}{metric}", []).append(value)

    begin = start.ravel()
    remember(begin)
    found = minimize(
        problem.loss,
        begin,
        method="L-BFGS-B",
        jac=True,
        callback=remember,
        options={
            "maxiter": iterations,
            "maxcor": _MEMORY,
            "gtol": _SLOPE_BY_L2 * l2 or _SLOPE,
            # As long as it falls at all.
            "ftol": 0.0,
        },
    )
    logging.info("L-BFGS: %s after %d iterations", found.message, found.nit)
    return found.x.reshape(start.shape), history


def log(history: History, log_dir: str) -> None:
    """Write what Keras' TensorBoard callback would, under its names.

    Args:
        history: what `fit` returned.
        log_dir: where TensorBoard logs go.
    """
    for split, prefix in (("train", ""), ("validation", "val_")):
        with tf.summary.create_file_writer(os.path.join(log_dir, split)).as_default():
            for metric in ("loss", "accuracy"):
                for step, value in enumerate(history[f"{prefix}{metric}"]):
                    tf.summary.scalar(f"epoch_{metric}", value, step=step)
