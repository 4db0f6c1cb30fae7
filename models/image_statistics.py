"""The statistics of an image's grey levels, in training as in what is served."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from models.deep_images import GREY_LEVELS


def grey_statistics(image: np.ndarray) -> tuple[float, float, float]:
    """Mean, population standard deviation and Shannon entropy of uint8 [height, width].

    From the 256-bin histogram h with p = h / N: mean = Σ p·i, std = √Σ p·(i − mean)²,
    entropy = −Σ p·log₂ p (Shannon 1948), in grey levels, grey levels and bits.
    """
    # Pillow counts bytes three times as fast as np.bincount, which turns them into int64.
    share = np.array(Image.fromarray(image).histogram()) / image.size
    levels = np.arange(GREY_LEVELS)
    mean = math.fsum(share * levels)
    std = math.sqrt(math.fsum(share * (levels - mean) ** 2))
    present = share[share > 0]
    return mean, std, abs(math.fsum(present * np.log2(present)))
