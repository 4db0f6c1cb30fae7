"""The cost of a network: multiply-adds for one image."""

from __future__ import annotations

import math

import keras


def multiply_adds(*models: keras.Model) -> int:
    """Count the multiply-adds of convolutions and dense layers for one image.

    Biases, normalisation, activations and pooling are left out: in the three backbones
    they are below one per cent.

    Args:
        models: built models, such as a prefix and a suffix.

    Returns:
        The sum over all of them.
    """
    return sum(_of_layer(layer) for model in models for layer in _leaves(model))


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    leaves = []
    for layer in model.layers:
        leaves += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return leaves


def _of_layer(layer: keras.layers.Layer) -> int:
    kernels = [w for w in layer.trainable_weights + layer.non_trainable_weights if _is_kernel(w)]
    if not isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D, *_SEPARABLE)):
        return 0
    # Each weight of a kernel is used once at every place of the output.
    places = math.prod(layer.output.shape[1:-1])
    return places * sum(math.prod(kernel.shape) for kernel in kernels)


_SEPARABLE = (keras.layers.SeparableConv2D, keras.layers.DepthwiseConv2D)


def _is_kernel(variable: keras.Variable) -> bool:
    return str(variable.name).endswith("kernel")
