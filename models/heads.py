"""Classifiers on pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from models.boundary import TAP_LAST
from models.hyperparameters import HeadParams

# A channel whose variance is this small beside its squared mean is a constant.
_CONSTANT = 1e-10


def build_head(
    params: HeadParams,
    taps: Mapping[str, int],
    n_classes: int,
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> keras.Model:
    """Builds the head.

    Args:
        params: kind and sizes.
        taps: tap name -> channels.
        n_classes: size of the output.
        moments: tap name -> (mean, variance), each float [channels], of the training
            views; the `paper` head doesn't use them.
        seed: of the initial weights and dropout.

    Returns:
        {tap name: float32 [batch, channels]} -> float32 probabilities [batch, n_classes],
        with the taps that the kind uses as inputs; call it through `apply_head`.
    """
    used = {TAP_LAST: taps[TAP_LAST]} if params.kind == "paper" else taps
    inputs = {name: keras.Input((channels,), name=name) for name, channels in used.items()}
    if params.kind == "paper":
        hidden = keras.layers.Dense(
            params.width,
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            name="hidden",
        )(inputs[TAP_LAST])
        penalty = None
    else:
        hidden = _standardise(inputs, moments)
        penalty = keras.regularizers.L2(params.l2)
    if params.dropout:
        hidden = keras.layers.Dropout(params.dropout, seed=seed)(hidden)
    probabilities = keras.layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed + 1),
        kernel_regularizer=penalty,
        name="probabilities",
    )(hidden)
    return keras.Model(inputs, probabilities, name="head")


def apply_head(head: keras.Model, taps: Mapping[str, Any], *, training: bool | None = None) -> Any:
    """Calls a head with the taps that it uses.

    Args:
        head: what `build_head` returned.
        taps: tap name -> tensor [batch, channels]; more than the head uses is fine.
        training: as Keras' own; None leaves it to Keras.

    Returns:
        Probabilities [batch, n_classes].
    """
    return head({name: taps[name] for name in head.input}, training=training)


def _standardise(
    inputs: Mapping[str, keras.KerasTensor],
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> keras.KerasTensor:
    standardised = []
    for name, tensor in inputs.items():
        mean, variance = moments[name]
        # A constant channel carries nothing; its rounding noise must not be blown up.
        spread = np.where(variance <= _CONSTANT * (mean**2 + 1), 1.0, variance)
        layer = keras.layers.Normalization(mean=mean, variance=spread, name=f"standardise_{name}")
        standardised.append(layer(tensor))
    return keras.layers.Concatenate(name="taps")(standardised)
