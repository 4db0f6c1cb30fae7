"""Views are made of the image's own pixels."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from models.view_names import View
from models.views import view_of

IMAGES = np.arange(2 * 256 * 256, dtype=np.int32).reshape(2, 256, 256, 1)


def test_identity_and_mirror() -> None:
    np.testing.assert_array_equal(view_of(tf.constant(IMAGES), "identity"), IMAGES)
    np.testing.assert_array_equal(view_of(tf.constant(IMAGES), "mirror"), IMAGES[:, :, ::-1])


@pytest.mark.parametrize(
    ("view", "down", "right"),
    [("crop_nw", 0, 0), ("crop_ne", 0, 24), ("crop_sw", 24, 0), ("crop_se", 24, 24)],
)
def test_a_crop_is_the_window_at_its_corner(view: str, down: int, right: int) -> None:
    cropped = view_of(tf.constant(IMAGES), view).numpy()
    assert (cropped.shape, cropped.dtype) == (IMAGES.shape, IMAGES.dtype)
    window = IMAGES[:, down : down + 232, right : right + 232]
    np.testing.assert_array_equal(cropped[:, 12:-12, 12:-12], window)
    # The border is the window's own edge, reflected: NumPy's word for it.
    expected = np.pad(window, ((0, 0), (12, 12), (12, 12), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(cropped, expected)


def test_every_view_differs_from_every_other() -> None:
    seen = {view_of(tf.constant(IMAGES), view).numpy().tobytes() for view in get_args(View)}
    assert len(seen) == len(get_args(View)) == 6
