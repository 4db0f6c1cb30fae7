"""Grey levels, measured."""

from __future__ import annotations

import numpy as np
import pytest

from models.image_statistics import grey_statistics


def test_statistics_against_numpy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1100, 1000), dtype=np.uint8)
    mean, std, entropy = grey_statistics(image)
    assert mean == pytest.approx(image.mean())
    assert std == pytest.approx(image.std())
    assert entropy == pytest.approx(8, abs=1e-3)


def test_statistics_of_known_images() -> None:
    assert grey_statistics(np.full((9, 9), 7, np.uint8)) == (7, 0, 0)
    assert grey_statistics(np.array([[0, 2]], np.uint8)) == (1, 1, 1)
