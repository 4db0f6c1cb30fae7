"""Classifiers on pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np

from models.backbones import TAP_LAST
from models.hyperparameters import HeadParams

if TYPE_CHECKING:
    import tensorflow as tf

# A channel whose variance is this small beside its squared mean is a constant.
_CONSTANT: Final = 1e-10
_STANDARDISE: Final = "standardise_"
# Softmax layers: the flat head's, and the two of a hierarchical one.
CLASS_LAYER: Final = "probabilities"
_STATE: Final = "healthy_or_sick"
_ILLNESS: Final = "illness"
# Where an image says nothing about a layer's question.
NOT_ASKED: Final = -1


def build_head(
    params: HeadParams,
    taps: Mapping[str, int],
    n_classes: int,
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
    seed: int,
    scales: Mapping[str, float] | None = None,
) -> keras.Model:
    """Build the head.

    Args:
        params: kind and sizes.
        taps: tap name -> channels.
        n_classes: size of the output.
        moments: tap name -> (mean, variance), each float [channels], of the training
            rows; the `paper` head doesn't use them.
        seed: of the initial weights and dropout.
        scales: tap name -> the deviation that its standardised channels get; 1 where None.

    Returns:
        {tap name: float32 [batch, channels]} -> float32 probabilities [batch, n_classes],
        with the taps that the kind uses as inputs; call it through `apply_head`.
    """
    used = {TAP_LAST: taps[TAP_LAST]} if params.kind == "paper" else taps
    inputs = _inputs(used)
    if params.kind == "paper":
        hidden = keras.layers.Dense(
            params.width,
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            name="hidden",
        )(inputs[TAP_LAST])
        penalty = 0.0
    else:
        hidden = _standardise(inputs, moments, scales or {})
        penalty = _penalty(params)
    if params.dropout:
        hidden = keras.layers.Dropout(params.dropout, seed=seed)(hidden)
    probabilities = _softmax(hidden, n_classes, CLASS_LAYER, penalty, seed + 1)
    return keras.Model(inputs, probabilities, name="head")


def build_hierarchical_head(
    params: HeadParams,
    taps: Mapping[str, int],
    n_classes: int,
    healthy: int,
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> keras.Model:
    """Build a head that asks first whether an image is healthy, and then which illness it shows.

    P(healthy) comes from one softmax layer; P(illness) = P(sick) P(illness | sick), the
    second factor from another. The cross-entropy of the product is the sum of the two
    layers' own, the second's over the sick images alone, so one `fit` trains both as if
    each were trained by itself.

    Args:
        params: `l2` and `dropout`; taps are those given.
        taps: tap name -> channels.
        n_classes: size of the output, at least 3.
        healthy: index of the healthy class.
        moments: as for `build_head`.
        seed: of the initial weights and dropout.

    Returns:
        As `build_head`.
    """
    inputs = _inputs(taps)
    hidden = _standardise(inputs, moments, {})
    if params.dropout:
        hidden = keras.layers.Dropout(params.dropout, seed=seed)(hidden)
    penalty = _penalty(params)
    state = _softmax(hidden, 2, _STATE, penalty, seed + 1)
    illness = _softmax(hidden, n_classes - 1, _ILLNESS, penalty, seed + 2)
    ill = keras.layers.Multiply(name="sick_and_illness")([state[:, 1:], illness])
    columns = [ill[:, :healthy], state[:, :1], ill[:, healthy:]]
    filled = [column for column in columns if column.shape[-1]]
    return keras.Model(inputs, keras.layers.Concatenate(name="probabilities")(filled), name="head")


def questions(labels: np.ndarray, healthy: int | None = None) -> dict[str, np.ndarray]:
    """Make the labels that each softmax layer of a head learns to answer.

    Args:
        labels: class of each image, int [images].
        healthy: index of the healthy class, where the head is a hierarchical one.

    Returns:
        Layer's name -> its class for each image, or NOT_ASKED.
    """
    if healthy is None:
        return {CLASS_LAYER: labels}
    sick = labels != healthy
    illness = np.where(sick, labels - (labels > healthy), NOT_ASKED)
    return {_STATE: sick.astype(labels.dtype), _ILLNESS: illness}


def _inputs(taps: Mapping[str, int]) -> dict[str, keras.KerasTensor]:
    return {name: keras.Input((channels,), name=name) for name, channels in taps.items()}


def _penalty(params: HeadParams) -> float:
    if params.l2 is None:
        raise ValueError("head.l2 is open: call TrainingParams.resolved first")
    return params.l2


def _softmax(
    hidden: keras.KerasTensor, classes: int, name: str, l2: float, seed: int
) -> keras.KerasTensor:
    return keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
    )(hidden)


def apply_head(head: keras.Model, taps: Mapping[str, Any], *, training: bool | None = None) -> Any:
    """Call a head with the taps that it uses.

    Args:
        head: what `build_head` returned.
        taps: tap name -> tensor [batch, channels]; more than the head uses is fine.
        training: as Keras' own; None leaves it to Keras.

    Returns:
        Probabilities [batch, n_classes].
    """
    return head({name: taps[name] for name in head.input}, training=training)


def tap_means(head: keras.Model) -> dict[str, tf.Tensor | float]:
    """Read what each tap is compared with: the mean of the training rows.

    Args:
        head: what `build_head` or `build_hierarchical_head` returned.

    Returns:
        Tap name -> float32 [1, channels]; 0 where the head doesn't standardise.
    """
    layers = {layer.name: layer for layer in head.layers}
    names = {name: f"{_STANDARDISE}{name}" for name in head.input}
    return {name: layers[layer].mean if layer in layers else 0.0 for name, layer in names.items()}


def log_odds_by_tap(
    head: keras.Model, taps: Mapping[str, Any], classes: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Say what each tap adds to the log-odds of a class against the others.

    They (`models.explanation.class_score`) are linear in what a softmax layer reads, so they fall
    into a part for each tap, and that of the mean of the training rows, where each tap's is 0.

    Args:
        head: of one softmax layer, standing on standardised taps; before calibration.
        taps: tap name -> float32 [batch, channels].
        classes: int [batch].

    Returns:
        Tap -> nats, float32 [batch]; and those of the mean row.
    """
    # A graph is made of this; what only fits heads needs no more than NumPy and Keras.
    import tensorflow as tf

    layer = head.get_layer(CLASS_LAYER)
    kernel, bias = (tf.convert_to_tensor(each) for each in (layer.kernel, layer.bias))
    n = kernel.shape[1]
    against = (n * tf.one_hot(classes, n) - 1) / (n - 1)
    found, place = {}, 0
    for name in head.input:
        rows = head.get_layer(f"{_STANDARDISE}{name}")(taps[name])
        end = place + rows.shape[-1]
        found[name] = tf.reduce_sum(rows @ kernel[place:end] * against, axis=-1)
        place = end
    return found, tf.reduce_sum(bias * against, axis=-1)


def _standardise(
    inputs: Mapping[str, keras.KerasTensor],
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scales: Mapping[str, float],
) -> keras.KerasTensor:
    standardised = []
    for name, tensor in inputs.items():
        mean, variance = moments[name]
        # A constant channel carries nothing; its rounding noise must not be blown up.
        spread = np.where(variance <= _CONSTANT * (mean**2 + 1), 1.0, variance)
        spread = spread / scales.get(name, 1.0) ** 2
        layer = keras.layers.Normalization(mean=mean, variance=spread, name=f"{_STANDARDISE}{name}")
        standardised.append(layer(tensor))
    return keras.layers.Concatenate(name="taps")(standardised)
