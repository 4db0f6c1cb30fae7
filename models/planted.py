"""Images that are no radiographs, always the same: how much of them does the input gate catch?

They go through the networks as training images do, so there are few of each kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from schema import contract

NOISE: Final = "noise"
PHOTOGRAPHS: Final = "photographs"
DIGITS: Final = "digits"
SHAPES: Final = "shapes"
KINDS: Final = (NOISE, PHOTOGRAPHS, DIGITS, SHAPES)
# Of each kind.
COUNT: Final = 8
_SIZE: Final = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)


def planted() -> dict[str, np.ndarray]:
    """Make the images that networks are asked about.

    Returns:
        Kind -> uint8 [COUNT, 256, 256, 1]: noise, coarse and fine; crops of the photographs that
        scikit-learn ships, and its handwritten digits; drawn shapes.
    """
    made = {NOISE: _noise(), PHOTOGRAPHS: _photographs(), DIGITS: _digits(), SHAPES: _shapes()}
    return {kind: np.stack(list(images))[..., np.newaxis] for kind, images in made.items()}


def blank() -> np.ndarray:
    """Make images without anything in them: black, grey, white, one pixel; uint8 [4, 256, 256, 1].

    They need no network.
    """
    images = np.stack([np.full((*_SIZE, 1), level, np.uint8) for level in (0, 127, 255, 0)])
    images[-1, contract.IMAGE_SIZE // 3, contract.IMAGE_SIZE // 3] = 255
    return images


def digest_of(image: np.ndarray) -> str:
    """Return the hex digest by which a planted image is known."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def _noise() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        cells = contract.IMAGE_SIZE >> (number % 4)
        levels = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
        yield np.asarray(levels.resize(_SIZE, Image.Resampling.BILINEAR))


def _photographs() -> Iterator[np.ndarray]:
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    whole = [Image.fromarray(each).convert("L") for each in load_sample_images().images]
    for number in range(COUNT):
        image = whole[number % len(whole)]
        side = int(rng.integers(150, min(image.size)))
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        part = image.crop((left, top, left + side, top + side))
        yield np.asarray(part.resize(_SIZE, Image.Resampling.BILINEAR))


def _digits() -> Iterator[np.ndarray]:
    from sklearn.datasets import load_digits

    for image in load_digits().images[:COUNT]:
        levels = Image.fromarray((image / image.max() * 255).astype(np.uint8))
        yield np.asarray(levels.resize(_SIZE, Image.Resampling.BILINEAR))


def _shapes() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        image = Image.new("L", _SIZE, int(rng.integers(0, 60)))
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(2, 6))):
            left, top = rng.integers(0, 180, 2).tolist()
            right, bottom = left + int(rng.integers(30, 120)), top + int(rng.integers(30, 120))
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((left, top, right, bottom), fill=int(rng.integers(80, 256)))
        yield np.asarray(image)
