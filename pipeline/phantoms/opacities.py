"""The opacities that disease adds to a healthy phantom lung: fractions 0..1 of replaced air.

The patterns are caricatures of textbook descriptions, made strong enough for the
features of an untrained network; they are not a model of either disease.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.phantoms.anatomy import SIDES, Anatomy
from pipeline.phantoms.canvas import Field, Point, Pose, blob, exact, smooth_noise, strokes


def clear(rng: np.random.Generator, anatomy: Anatomy, pose: Pose, x: Field, y: Field) -> Field:
    """Return no opacity at all: the normal lung."""
    return np.zeros_like(x)


def ground_glass(
    rng: np.random.Generator, anatomy: Anatomy, pose: Pose, x: Field, y: Field
) -> Field:
    """Return hazy patches along the outer border of both lower lungs (COVID-19)."""
    haze = np.zeros_like(x)
    floor = min(anatomy.diaphragm)
    for side in SIDES:  # bilateral, always
        for _ in range(int(rng.integers(4, 7))):
            edge = anatomy.lateral_edge(side, rng.uniform(-0.15, floor))
            centre = (edge[0] - side * rng.uniform(0.04, 0.16), edge[1])
            radii = (rng.uniform(0.12, 0.18), rng.uniform(0.12, 0.19))
            haze += rng.uniform(0.8, 1.2) * blob(x, y, centre, radii)
    mottle = 1.0 + 0.3 * smooth_noise(rng, 20)
    return saturate(haze * mottle)


def interstitial(
    rng: np.random.Generator, anatomy: Anatomy, pose: Pose, x: Field, y: Field
) -> Field:
    """Return streaks, a fine net and central patches around both hila (viral pneumonia)."""
    hila = [anatomy.hilum(side) for side in SIDES]
    around = np.zeros_like(x)
    patches = np.zeros_like(x)
    for side, hilum in zip(SIDES, hila, strict=True):
        spread = (rng.uniform(0.28, 0.36), rng.uniform(0.36, 0.46))
        around += blob(x, y, (hilum[0] + side * 0.12, hilum[1] + 0.06), spread)
        for _ in range(int(rng.integers(2, 4))):
            centre = (
                hilum[0] + side * rng.uniform(0.02, 0.18),
                hilum[1] + rng.uniform(-0.20, 0.28),
            )
            patches += rng.uniform(0.35, 0.65) * blob(x, y, centre, (0.09, 0.10))
    around = np.minimum(around, np.float32(1.0))
    net = 0.5 * ridges(smooth_noise(rng, 44)) + 0.5 * ridges(smooth_noise(rng, 64))
    lines = strokes(streaks(rng, pose, hila), blur=0.9)
    return saturate(around * (net + 1.2 * lines) + patches)


def ridges(field: Field) -> Field:
    """Return thin bright curves where `field` crosses zero: a net of random meshes."""
    return exact(np.exp, -((field / 0.16) ** 2))


def streaks(
    rng: np.random.Generator, pose: Pose, hila: list[Point]
) -> list[tuple[Point, Point, int]]:
    """Return short lines that leave the hila in all outward directions."""
    lines = []
    for side, hilum in zip(SIDES, hila, strict=True):
        for _ in range(int(rng.integers(120, 160))):
            angle = rng.uniform(-1.4, 1.4)
            near, length = rng.uniform(0.03, 0.42), rng.uniform(0.06, 0.16)
            tilt = angle + rng.normal(0.0, 0.35)
            start = (
                hilum[0] + side * near * math.cos(angle),
                hilum[1] + 1.3 * near * math.sin(angle),
            )
            end = (
                start[0] + side * length * math.cos(tilt),
                start[1] + length * math.sin(tilt),
            )
            lines.append((pose.pixel(start), pose.pixel(end), int(rng.integers(1, 4))))
    return lines


def saturate(opacity: Field) -> Field:
    """Return `opacity` bent smoothly below 1, so that patches add up without clipping."""
    replaced: Field = 1.0 - exact(np.exp, -np.maximum(opacity, 0.0))
    return replaced
