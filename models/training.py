"""Trains what lies behind the boundary; `run_fn` is TFX Trainer's entry point."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from models import feature_records
from models.boundary import BOUNDARY_MAP, CutNetwork, load_network
from models.heads import apply_head, build_head
from models.hyperparameters import VIEW_IDENTITY, AugmentationParams, TrainingParams
from models.signatures import ServedModel, export
from schema import contract

if TYPE_CHECKING:
    from tfx.components import FnArgs

# The paper's notebook: ReduceLROnPlateau(factor=0.2, min_lr=1e-7).
_PLATEAU_FACTOR = 0.2
_PLATEAU_FLOOR = 1e-7


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training.

    Attributes:
        network: prefix and trained suffix.
        head: trained head.
        history: metric name -> value per epoch.
        validation: accuracy, loss (cross-entropy without penalty), total, and confusion
            matrix (rows true, columns predicted) on the validation split.
    """

    network: CutNetwork
    head: keras.Model
    history: dict[str, list[float]]
    validation: dict[str, Any]


def train(
    network: CutNetwork,
    params: TrainingParams,
    *,
    n_classes: int,
    train_files: Sequence[str],
    eval_files: Sequence[str],
    seed: int,
    log_dir: str | None = None,
) -> Trained:
    """Fits suffix and head on cached features.

    Args:
        network: the cut backbone with its pre-trained weights.
        params: recipe.
        n_classes: number of classes.
        train_files: patterns of the training features.
        eval_files: patterns of the validation features.
        seed: of initial weights, order, dropout and augmentation.
        log_dir: where TensorBoard logs go; none where None.
    """
    keras.utils.set_random_seed(seed)
    specs = network.features
    training_data = feature_records.read(
        train_files,
        specs,
        batch_size=params.batch_size,
        views=params.views,
        shuffle_seed=seed,
    )
    validation_data = feature_records.read(
        eval_files, specs, batch_size=params.batch_size, views=(VIEW_IDENTITY,)
    )
    taps = {name: tensor.shape[-1] for name, tensor in network.suffix.output.items()}
    moments = _moments(network.suffix, training_data) if params.head.kind != "paper" else {}
    head = build_head(params.head, taps, n_classes, moments, seed)
    model = _trainable_model(network, head, params.augmentation, seed)
    # XLA's compile time on a CPU is longer than most of these trainings.
    model.compile(
        optimizer=keras.optimizers.Adam(params.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,
    )
    best = _BestWeights()
    fitted = model.fit(
        training_data,
        validation_data=validation_data,
        epochs=params.epochs,
        callbacks=_callbacks(params, best, log_dir),
        verbose=0,
    )
    best.restore()
    history = {name: [float(v) for v in values] for name, values in fitted.history.items()}
    return Trained(network, head, history, _validate(network, head, validation_data, n_classes))


def _trainable_model(
    network: CutNetwork, head: keras.Model, augmentation: AugmentationParams | None, seed: int
) -> keras.Model:
    inputs = {
        name: keras.Input(spec.shape, dtype=spec.dtype, name=name)
        for name, spec in network.features.items()
    }
    features = {name: keras.ops.cast(tensor, "float32") for name, tensor in inputs.items()}
    if augmentation is not None:
        features[BOUNDARY_MAP] = _augment(features[BOUNDARY_MAP], augmentation, seed)
    return keras.Model(inputs, apply_head(head, network.suffix(features)))


def _augment(images: keras.KerasTensor, params: AugmentationParams, seed: int) -> keras.KerasTensor:
    # A seed each, since layers of one seed draw the same numbers; and a layer each for the
    # flips, since "horizontal_and_vertical" draws once for both.
    layers = keras.layers
    if params.shear_degrees:
        factor = math.tan(math.radians(params.shear_degrees))
        images = layers.RandomShear(x_factor=factor, fill_mode="nearest", seed=seed)(images)
    if params.zoom:
        both = (-params.zoom, params.zoom)
        images = layers.RandomZoom(both, both, fill_mode="nearest", seed=seed + 1)(images)
    if params.horizontal_flip:
        images = layers.RandomFlip("horizontal", seed=seed + 2)(images)
    if params.vertical_flip:
        images = layers.RandomFlip("vertical", seed=seed + 3)(images)
    return images


class _BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest validation loss.

    EarlyStopping keeps them only when it is the one that stops.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loss = math.inf
        self._weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compares the epoch that ended."""
        loss = (logs or {})["val_loss"]
        if loss < self._loss:
            weights = self.model.get_weights()
            # A loss that is a number proves nothing: oneDNN's fused ReLU makes NaN 0.
            if all(np.isfinite(weight).all() for weight in weights):
                self._loss, self._weights = loss, weights

    def restore(self) -> None:
        """Puts the best weights back; raises where every epoch ended with NaN."""
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


def _moments(
    suffix: keras.Model, data: tf.data.Dataset
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and population variance per channel of the taps over the training views."""
    pooled: dict[str, list[np.ndarray]] = {}
    for features, _ in data:
        taps = suffix({k: tf.cast(v, tf.float32) for k, v in features.items()}, training=False)
        for name, values in taps.items():
            pooled.setdefault(name, []).append(values.numpy().astype(np.float64))
    stacked = {name: np.concatenate(values) for name, values in pooled.items()}
    return {name: (values.mean(axis=0), values.var(axis=0)) for name, values in stacked.items()}


def _validate(
    network: CutNetwork, head: keras.Model, data: tf.data.Dataset, n_classes: int
) -> dict[str, Any]:
    probabilities, labels = [], []
    for features, label in data:
        taps = network.suffix(
            {k: tf.cast(v, tf.float32) for k, v in features.items()}, training=False
        )
        probabilities.append(apply_head(head, taps, training=False).numpy())
        labels.append(label.numpy())
    p, y = np.concatenate(probabilities), np.concatenate(labels)
    predicted = p.argmax(axis=-1)
    confusion = tf.math.confusion_matrix(y, predicted, num_classes=n_classes).numpy()
    loss = float(-np.log(np.clip(p[np.arange(len(y)), y], 1e-7, 1.0)).mean())
    return {
        "accuracy": float((predicted == y).mean()),
        "loss": loss,
        "total": len(y),
        "confusion": confusion.tolist(),
    }


def _or_null(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _write_json(directory: str, name: str, value: Mapping[str, Any]) -> None:
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, name), "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)


def run_fn(fn_args: FnArgs) -> None:
    """TFX Trainer's entry point.

    Args:
        fn_args: `custom_config` holds `backbone`, `classes`, `seed` and `training` (fields
            of TrainingParams); `base_model` is the folder with the backbone's weights.
    """
    config = fn_args.custom_config
    classes = config["classes"]
    params = TrainingParams.model_validate(config["training"])
    trained = train(
        load_network(config["backbone"], params.scaling, params.boundary, fn_args.base_model),
        params,
        n_classes=len(classes),
        train_files=fn_args.train_files,
        eval_files=fn_args.eval_files,
        seed=config["seed"],
        log_dir=fn_args.model_run_dir,
    )
    history = {name: [_or_null(v) for v in values] for name, values in trained.history.items()}
    _write_json(fn_args.model_run_dir, contract.HISTORY_FILE, history)
    _write_json(fn_args.model_run_dir, contract.VALIDATION_FILE, trained.validation)
    transform_layer = tft.TFTransformOutput(fn_args.transform_output).transform_features_layer()
    served = ServedModel(transform_layer, trained.network, trained.head, classes)
    export(served, fn_args.serving_model_dir)
