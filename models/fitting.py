"""Training: L-BFGS for what is convex; else Keras' loop, which keeps the best epoch's weights."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from models import convex
from models.convex import History
from models.head_rows import Spans, Taps
from models.hyperparameters import HEAD_LEARNING_RATE, TrainingParams

# The paper's notebook: ReduceLROnPlateau(factor=0.2, min_lr=1e-7).
_PLATEAU_FACTOR = 0.2
_PLATEAU_FLOOR = 1e-7


def fit(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    params: TrainingParams,
    log_dir: str | None = None,
) -> History:
    """Fit a model and put back the weights of its best epoch.

    Args:
        model: features -> probabilities.
        training: ({name: tensor}, labels) batches, shuffled anew at each epoch.
        validation: the same, in any order.
        params: rate, schedule, epochs and callbacks.
        log_dir: where TensorBoard logs go; none where None.

    Returns:
        Metric name -> value per epoch.

    Raises:
        FloatingPointError: every epoch ended with NaN.
    """
    # XLA's compile time on a CPU is longer than most of these trainings.
    model.compile(
        optimizer=keras.optimizers.Adam(_learning_rate(params, training)),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    # The metric and this make all variables that a step needs. TensorFlow traces twice what makes
    # its own, which takes longer than a head's training.
    model.optimizer.build(model.trainable_variables)
    best = _BestWeights()
    fitted = model.fit(
        training,
        validation_data=validation,
        epochs=params.epochs,
        # The dataset shuffles itself; to ask for more makes Keras warn.
        shuffle=False,
        callbacks=_callbacks(params, best, log_dir),
        verbose=0,
    )
    best.restore()
    return {name: [float(v) for v in values] for name, values in fitted.history.items()}


def fit_on_taps(
    head: keras.Model,
    training: tuple[Taps, np.ndarray],
    validation: tuple[Taps, np.ndarray],
    params: TrainingParams,
    *,
    seed: int,
    healthy: int | None = None,
    continued: bool = False,
    log_dir: str | None = None,
    spans: Spans | None = None,
) -> History:
    """Fit a head on pooled taps that are in memory.

    `models.convex` fits what has neither dropout nor the paper's hidden layer: of the recipe,
    `head.l2` counts, and `epochs` as the most iterations. All else Keras trains.

    Args:
        head: of `models.heads`.
        training: {tap: float32 [rows, channels]}, labels int64 [rows].
        validation: the same, of the validation images.
        params: the recipe; where the network trains too (the boundary is not `head`), the
            head alone is fitted at HEAD_LEARNING_RATE.
        seed: of the order in which Keras sees the rows.
        healthy: index of the healthy class, where the head is a hierarchical one.
        continued: the head's weights are an earlier model's, and not drawn.
        log_dir: where TensorBoard logs go; none where None.
        spans: of these rows, where other heads are fitted to them too (see `models.convex.fit`).

    Returns:
        Metric name -> value per epoch, or per iteration (see `models.convex.fit`).
    """
    of_head = params.head
    if not of_head.dropout and (of_head.kind == "regularised" or healthy is not None):
        assert of_head.l2 is not None
        return convex.fit(
            head,
            training,
            # The history is the flat head's: nobody reads a hierarchical one's.
            validation if healthy is None else None,
            l2=of_head.l2,
            iterations=params.epochs,
            healthy=healthy,
            continued=continued,
            log_dir=log_dir,
            spans=spans,
        )
    return fit_in_batches(head, training, validation, params, seed=seed, log_dir=log_dir)


def fit_in_batches(
    head: keras.Model,
    training: tuple[Taps, np.ndarray],
    validation: tuple[Taps, np.ndarray],
    params: TrainingParams,
    *,
    seed: int,
    log_dir: str | None = None,
) -> History:
    """Fit a head of any kind by Keras; the arguments are those of `fit_on_taps`."""
    used = list(head.input)

    def dataset(data: tuple[Taps, np.ndarray]) -> tf.data.Dataset:
        taps, labels = data
        return tf.data.Dataset.from_tensor_slices(({name: taps[name] for name in used}, labels))

    count = len(training[1])
    shuffled = dataset(training).shuffle(count, seed=seed, reshuffle_each_iteration=True)
    return fit(
        head,
        shuffled.batch(params.batch_size).prefetch(2),
        dataset(validation).batch(params.batch_size),
        params,
        log_dir,
    )


def head_alone(params: TrainingParams) -> TrainingParams:
    """Return the recipe for a head in front of a network that is not trained in this step."""
    defaults = TrainingParams()
    return params.model_copy(
        update={
            "learning_rate": HEAD_LEARNING_RATE,
            "schedule": "constant",
            "batch_size": defaults.batch_size,
            "epochs": defaults.epochs,
            "early_stopping_patience": defaults.early_stopping_patience,
            "plateau_patience": None,
        }
    )


def _learning_rate(
    params: TrainingParams, training: tf.data.Dataset
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if params.schedule == "constant":
        return params.learning_rate
    steps = sum(1 for _ in training)
    return keras.optimizers.schedules.CosineDecay(params.learning_rate, steps * params.epochs)


class _BestWeights(keras.callbacks.Callback):
    """A callback that keeps the weights of the epoch with the lowest validation loss.

    EarlyStopping keeps them only when it is the one that stops.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loss = math.inf
        self._weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare the epoch that ended."""
        loss = (logs or {})["val_loss"]
        if loss < self._loss:
            weights = self.model.get_weights()
            # A loss that is a number proves nothing: oneDNN's fused ReLU makes NaN 0.
            if all(np.isfinite(weight).all() for weight in weights):
                self._loss, self._weights = loss, weights

    def restore(self) -> None:
        """Put the best weights back; raise where every epoch ended with NaN."""
        if self._weights is None:
            raise FloatingPointError(
                "training diverged: after no epoch were the validation loss and all weights "
                "numbers; lower learning_rate."
            )
        self.model.set_weights(self._weights)


def _callbacks(
    params: TrainingParams, best: _BestWeights, log_dir: str | None
) -> list[keras.callbacks.Callback]:
    callbacks: list[keras.callbacks.Callback] = [best, keras.callbacks.TerminateOnNaN()]
    if params.early_stopping_patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=params.early_stopping_patience)
        )
    if params.plateau_patience is not None:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                "val_loss",
                factor=_PLATEAU_FACTOR,
                patience=params.plateau_patience,
                min_lr=_PLATEAU_FLOOR,
            )
        )
    if log_dir is not None:
        callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    return callbacks
