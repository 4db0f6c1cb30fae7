"""The drawing plane: positioning of the chest, soft masks, random fields, strokes.

Chest coordinates are unitless: x grows to the right of the image, y downwards, and
an upright, centred chest fills [-1, 1] both ways. As on any frontal radiograph, the
patient's right lung is at negative x. All fields are float32 [CANVAS, CANVAS].

A phantom is the same on every CPU: NumPy's exp, sin, cos and power of float32 are not, as
each instruction set has its own, so those are computed in float64 and rounded (`exact`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Anatomy is drawn at one resolution and resampled, so that a phantom of 1024 pixels
# shows the same chest as one of 256 and costs little more.
CANVAS = 512

Field: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """The place of the chest on the detector: radians, chest units, magnification."""

    angle: float
    shift: Point
    zoom: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        """Return a random pose within what a radiographer would accept."""
        return cls(
            angle=math.radians(rng.uniform(-4.0, 4.0)),
            shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.04, 0.04)),
            zoom=rng.uniform(0.96, 1.04),
        )

    def grid(self) -> tuple[Field, Field]:
        """Return the chest x and y of every canvas pixel."""
        axis = ((np.arange(CANVAS, dtype=np.float32) + 0.5) * (2.0 / CANVAS) - 1.0) / self.zoom
        u, v = axis[None, :] - self.shift[0], axis[:, None] - self.shift[1]
        cos, sin = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        return (cos * u + sin * v).astype(np.float32), (cos * v - sin * u).astype(np.float32)

    def pixel(self, point: Point) -> Point:
        """Return the canvas pixel of a chest point: the inverse of `grid`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = cos * point[0] - sin * point[1] + self.shift[0]
        v = sin * point[0] + cos * point[1] + self.shift[1]
        half = CANVAS / 2
        return (u * self.zoom + 1.0) * half - 0.5, (v * self.zoom + 1.0) * half - 0.5


def exact(function: Callable[..., Any], field: Field, *others: float) -> Field:
    """Return `function` of a field and numbers, computed in float64, as float32.

    Two CPUs differ in the last bits of float64; hardly ever is that seen after rounding.
    """
    return np.asarray(function(field.astype(np.float64), *others), dtype=np.float32)


def soft(distance: Field, width: float) -> Field:
    """Return a mask 0..1 that rises over `distance` -width..+width (inside is positive)."""
    # In place: most of the time of a phantom goes into fetching memory for such fields.
    t: Field = distance * np.float32(0.5 / width)
    t += 0.5
    np.clip(t, 0.0, 1.0, out=t)
    mask: Field = t * -2.0
    mask += 3.0
    mask *= t
    mask *= t
    return mask


def blob(x: Field, y: Field, centre: Point, radii: Point) -> Field:
    """Return a Gaussian bump of height 1 with standard deviations `radii`."""
    bump: Field = x - np.float32(centre[0])
    bump *= bump
    bump *= np.float32(radii[1] ** 2 / radii[0] ** 2)
    down = y - np.float32(centre[1])
    down *= down
    bump += down
    bump *= np.float32(-0.5 / radii[1] ** 2)
    return exact(np.exp, bump)


def resample(field: Field, size: int) -> Field:
    """Return a square `field` at `size` pixels a side (bicubic, antialiased downwards)."""
    if field.shape[0] == size:
        return field
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def smooth_noise(rng: np.random.Generator, cells: int) -> Field:
    """Return a smooth random field, mean 0 and deviation about 0.7, of `cells` bumps a side."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return resample(coarse, CANVAS)


def strokes(lines: Sequence[tuple[Point, Point, int]], *, blur: float) -> Field:
    """Return lines (from, to, width; canvas pixels) as a field 0..1, blurred by `blur` pixels."""
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    for start, end, width in lines:
        pen.line((*start, *end), fill=255, width=width)
    image = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(image, dtype=np.float32) / np.float32(255.0)
