"""Augmentations are made of the image's own pixels."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from models.augmentation_names import Augmentation
from models.augmentations import augmented

IMAGES = np.arange(2 * 256 * 256, dtype=np.int32).reshape(2, 256, 256, 1)


def test_identity_and_mirror() -> None:
    np.testing.assert_array_equal(augmented(tf.constant(IMAGES), "identity"), IMAGES)
    np.testing.assert_array_equal(augmented(tf.constant(IMAGES), "mirror"), IMAGES[:, :, ::-1])


@pytest.mark.parametrize(
    ("augmentation", "down", "right"),
    [("crop_nw", 0, 0), ("crop_ne", 0, 24), ("crop_sw", 24, 0), ("crop_se", 24, 24)],
)
def test_a_crop_is_the_window_at_its_corner(augmentation: str, down: int, right: int) -> None:
    cropped = augmented(tf.constant(IMAGES), augmentation).numpy()
    assert (cropped.shape, cropped.dtype) == (IMAGES.shape, IMAGES.dtype)
    window = IMAGES[:, down : down + 232, right : right + 232]
    np.testing.assert_array_equal(cropped[:, 12:-12, 12:-12], window)
    # The border is the window's own edge, reflected: NumPy's word for it.
    expected = np.pad(window, ((0, 0), (12, 12), (12, 12), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(cropped, expected)


def test_every_augmentation_differs_from_every_other() -> None:
    seen = {
        augmented(tf.constant(IMAGES), augmentation).numpy().tobytes()
        for augmentation in get_args(Augmentation)
    }
    assert len(seen) == len(get_args(Augmentation)) == 6
