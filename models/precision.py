"""A copy of a network whose layers compute in another precision."""

from __future__ import annotations

import keras

from models.boundary import POOL_PREFIX
from models.devices import Policy

# They carry what is cached and what heads see, both float32. So do the layers of a grid.
_FLOAT32 = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)


def in_precision(model: keras.Model, policy: Policy) -> keras.Model:
    """Copy a functional model, with its weights, for training in another precision.

    Args:
        model: float32, such as a suffix (see `models.boundary`).
        policy: of the copy's layers; its variables are float32, and so are the pooled
            vectors that it returns.

    Returns:
        A model of the same inputs, outputs and order of weights.
    """

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, _FLOAT32) and not layer.name.startswith(POOL_PREFIX):
            config["dtype"] = policy
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
