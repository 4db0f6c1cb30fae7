"""Exact augmentations of an image: no pixel of them is interpolated, so they can be cached."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from models.augmentation_names import MIRROR

# Pixels that a crop leaves out at each of two sides; the window is 256 - 24 pixels wide.
_CROPPED: Final = 24
_CORNERS: Final = {"crop_nw": (0, 0), "crop_ne": (0, 1), "crop_sw": (1, 0), "crop_se": (1, 1)}


def augmented(images: tf.Tensor, augmentation: str) -> tf.Tensor:
    """Make an exact augmentation of images.

    Args:
        images: [batch, height, width, channels].
        augmentation: `identity`; `mirror`, left and right exchanged; or a `crop_…`, the window at
            that corner, moved to the middle, its edge reflected into the border.

    Returns:
        The same shape and dtype.
    """
    if augmentation == MIRROR:
        return tf.reverse(images, axis=[2])
    if augmentation in _CORNERS:
        down, right = (_CROPPED * step for step in _CORNERS[augmentation])
        shape = tf.shape(images)
        window = images[
            :, down : shape[1] - _CROPPED + down, right : shape[2] - _CROPPED + right, :
        ]
        half = _CROPPED // 2
        return tf.pad(window, [[0, 0], [half, half], [half, half], [0, 0]], mode="REFLECT")
    return images
