"""Random changes of training images, inside the model that is trained."""

from __future__ import annotations

import math

import keras

from models.hyperparameters import RandomAugmentation


def augment(images: keras.KerasTensor, params: RandomAugmentation, seed: int) -> keras.KerasTensor:
    """Add the random layers; they do nothing outside training.

    Args:
        images: float [batch, height, width, channels].
        params: what may change, and by how much.
        seed: of all of them.

    Returns:
        The same shape.
    """
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
