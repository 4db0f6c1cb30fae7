"""A schematic healthy chest: outline, lungs, diaphragm, heart, spine, ribs, clavicles.

Values are attenuation in arbitrary units (air 0, soft tissue about 0.6, bone above);
more attenuation is lighter, as on a radiograph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.phantoms.canvas import Field, Point, Pose, blob, exact, soft, strokes

TISSUE = 0.60  # attenuation of the chest wall and of what lies below the diaphragm
AIR_DEPTH = 0.42  # how much of it an air-filled lung takes away
SIDES = (-1, 1)  # patient's right (image left), patient's left


@dataclass(frozen=True)
class Anatomy:
    """The differences between patients, in chest units unless said otherwise."""

    body_width: float
    lung_centre: float  # distance of a lung's axis from the midline
    lung_width: float  # half-width of a lung
    lung_height: float
    apex_taper: float  # fraction of the width lost at the apex
    diaphragm: tuple[float, float]  # height of the right and left dome
    mediastinum: float  # half-width
    heart_centre: Point
    heart_radii: Point
    heart_tilt: float  # radians
    rib_spacing: float
    rib_phase: float  # fraction of the spacing
    rib_slope: float
    bone: float  # attenuation of bone relative to the average patient
    clavicle: float  # height of the inner end
    vessel_seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """Return a random patient."""
        dome = rng.uniform(0.36, 0.50)
        return cls(
            body_width=rng.uniform(0.92, 0.99),
            lung_centre=rng.uniform(0.40, 0.44),
            lung_width=rng.uniform(0.32, 0.37),
            lung_height=rng.uniform(0.78, 0.86),
            apex_taper=rng.uniform(0.22, 0.34),
            diaphragm=(dome, dome + rng.uniform(0.02, 0.07)),
            mediastinum=rng.uniform(0.11, 0.15),
            heart_centre=(rng.uniform(0.09, 0.14), dome - rng.uniform(0.10, 0.15)),
            heart_radii=(rng.uniform(0.32, 0.40), rng.uniform(0.22, 0.26)),
            heart_tilt=math.radians(rng.uniform(25.0, 45.0)),
            rib_spacing=rng.uniform(0.135, 0.16),
            rib_phase=rng.uniform(0.0, 1.0),
            rib_slope=rng.uniform(0.40, 0.62),
            bone=rng.uniform(0.80, 1.20),
            clavicle=rng.uniform(-0.60, -0.50),
            vessel_seed=int(rng.integers(2**32)),
        )

    def hilum(self, side: int) -> Point:
        """Return where the vessels enter the lung of `side` (-1 right, +1 left)."""
        return side * (self.mediastinum + 0.07), -0.02 if side < 0 else -0.06

    def lateral_edge(self, side: int, y: float) -> Point:
        """Return the point of the outer border of the lung of `side` at height `y`."""
        down = min(abs(y - 0.02) / self.lung_height, 0.99)
        reach = self.lung_width * (1.0 - down**2.4) ** (1 / 2.4)
        return side * (self.lung_centre + reach), y


@dataclass(frozen=True)
class Chest:
    """A drawn healthy chest, each field float32 [CANVAS, CANVAS]."""

    attenuation: Field
    lungs: Field  # 0..1, aerated lung in front of no other organ
    bones: Field  # attenuation to be added last
    x: Field
    y: Field


def draw_chest(anatomy: Anatomy, pose: Pose) -> Chest:
    """Return the healthy chest of `anatomy` as it lies in `pose`."""
    x, y = pose.grid()
    outline = body(anatomy, x, y)
    heart_shadow = heart(anatomy, x, y)
    aerated = lungs(anatomy, x, y) * (1.0 - 0.88 * heart_shadow)
    attenuation = TISSUE * outline
    attenuation += 0.03 * heart_shadow + mediastinum(anatomy, x, y) + abdomen(anatomy, x, y)
    attenuation -= AIR_DEPTH * aerated
    attenuation += 0.11 * vessels(anatomy, pose) * aerated
    bones = (ribs(anatomy, x, y) + spine(x, y) + clavicles(anatomy, x, y)) * outline
    return Chest(attenuation, aerated, anatomy.bone * bones, x, y)


def body(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return the mask of the outline: neck, shoulders, trunk."""
    shoulders = soft(y + 0.86, 0.20)
    waist = soft(y - 0.10, 0.60)
    half_width = 0.30 + (anatomy.body_width - 0.30) * shoulders - 0.08 * waist
    return soft(half_width - np.abs(x), 0.03)


def lungs(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return the mask of both lungs, cut by mediastinum and diaphragm."""
    rise = np.clip((0.02 - y) / anatomy.lung_height, 0.0, 1.0)
    narrowing = 1.0 - anatomy.apex_taper * rise * rise
    high = exact(np.power, np.abs(y - 0.02) / anatomy.lung_height, 2.4)
    mask = np.zeros_like(x)
    for side in SIDES:
        lateral = side * x
        axis = anatomy.lung_centre - 0.10 * rise * rise
        across = np.abs(lateral - axis) / (anatomy.lung_width * narrowing)
        far = exact(np.power, across, 2.4) + high
        wall = 1.0 - exact(np.power, far, 1 / 2.4)
        inside = np.minimum(wall * anatomy.lung_width, lateral - 0.85 * anatomy.mediastinum)
        inside = np.minimum(inside, dome(anatomy, side, lateral) - y)
        mask += soft(inside, 0.018)
    return mask


def dome(anatomy: Anatomy, side: int, lateral: Field) -> Field:
    """Return the height of the diaphragm at a distance `lateral` from the midline."""
    top = anatomy.diaphragm[0 if side < 0 else 1]
    return top + 1.3 * (lateral - 0.36) ** 2


def abdomen(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return what the liver adds and the gas in the stomach takes away."""
    liver = soft(y - dome(anatomy, -1, -x), 0.05) * soft(-x + 0.15, 0.15)
    gas_centre = (0.36, anatomy.diaphragm[1] + 0.16)
    return 0.07 * liver - 0.13 * blob(x, y, gas_centre, (0.12, 0.05))


def heart(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return the mask of the cardiac silhouette: a tilted oval under the great vessels."""
    cos, sin = math.cos(anatomy.heart_tilt), math.sin(anatomy.heart_tilt)
    u, v = x - anatomy.heart_centre[0], y - anatomy.heart_centre[1]
    along = (cos * u + sin * v) / anatomy.heart_radii[0]
    across = (cos * v - sin * u) / anatomy.heart_radii[1]
    oval = (1.0 - np.sqrt(along * along + across * across)) * anatomy.heart_radii[1]
    # A cone from the aortic arch down, leaning to the left, gives the heart its waist.
    cone = anatomy.mediastinum - 0.02 + 0.30 * np.clip(y + 0.25, 0.0, 0.6) - np.abs(x - 0.05)
    mask: Field = np.maximum(soft(oval, 0.025), soft(cone, 0.03) * soft(y + 0.20, 0.10))
    return mask


def mediastinum(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return what great vessels and aortic knob add and the trachea takes away."""
    column = soft(anatomy.mediastinum - np.abs(x), 0.04) * soft(0.5 - y, 0.2)
    knob = blob(x, y, (anatomy.mediastinum, -0.26), (0.05, 0.06))
    trachea = soft(0.035 - np.abs(x), 0.02) * soft(-0.22 - y, 0.08)
    added: Field = 0.09 * column + 0.07 * knob - 0.12 * trachea
    return added


def spine(x: Field, y: Field) -> Field:
    """Return the vertebral column with its discs."""
    column = soft(0.075 - np.abs(x), 0.02)
    discs = exact(np.cos, np.float32(2 * math.pi / 0.125) * y)
    bone: Field = column * (0.055 + 0.018 * discs)
    return bone


def ribs(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return back ribs, arching out and down, and the fainter front ribs crossing them."""
    lateral = np.abs(x)
    reach = anatomy.lung_centre + anatomy.lung_width + 0.05
    cage = soft(reach - lateral, 0.04) * soft(lateral - 0.07, 0.03)
    cage *= soft(y + 0.78, 0.06) * soft(0.62 - y, 0.20)
    arch = anatomy.rib_slope * (lateral - 0.22) ** 2 * (1.0 + lateral)
    back = rib_bands(y - arch, anatomy.rib_spacing, anatomy.rib_phase, 0.21)
    fall = y + 0.55 * lateral - 0.25 * lateral**2
    front = rib_bands(fall, 1.12 * anatomy.rib_spacing, anatomy.rib_phase + 0.4, 0.17)
    front *= soft(lateral - 0.30, 0.10) * soft(y + 0.45, 0.15)
    return cage * (0.085 * back + 0.035 * front)


def rib_bands(height: Field, spacing: float, phase: float, half_width: float) -> Field:
    """Return bands repeating every `spacing` of `height`, with a denser rim (cortex)."""
    turn = height / np.float32(spacing) + np.float32(phase)
    offset = np.abs(turn - np.floor(turn) - np.float32(0.5))
    rim = np.clip(1.0 - np.abs(offset - half_width * 0.8) / 0.06, 0.0, 1.0)
    bands: Field = 0.75 * soft(half_width - offset, 0.05) + 0.35 * rim
    return bands


def clavicles(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Return both collar bones, S-shaped and rising outwards."""
    lateral = np.abs(x)
    centre = anatomy.clavicle - 0.26 * lateral + 0.03 * exact(np.sin, 6.5 * lateral)
    band = soft(0.032 - np.abs(y - centre), 0.014)
    return 0.10 * band * soft(lateral - 0.09, 0.02) * soft(0.80 - lateral, 0.05)


def vessels(anatomy: Anatomy, pose: Pose) -> Field:
    """Return the branching vessels of both lungs, thinning out from the hila, 0..1."""
    # The tree belongs to the patient, so it is grown from the patient's own seed.
    rng = np.random.default_rng(anatomy.vessel_seed)
    lines: list[tuple[Point, Point, int]] = []
    for side in SIDES:
        start = anatomy.hilum(side)
        for direction in np.linspace(-1.25, 1.35, 7):
            angle = float(direction) + rng.normal(0.0, 0.1)
            grow(rng, lines, pose, start, side, angle, 0.16, 4)
    return strokes(lines, blur=1.3)


def grow(
    rng: np.random.Generator,
    lines: list[tuple[Point, Point, int]],
    pose: Pose,
    start: Point,
    side: int,
    angle: float,
    length: float,
    width: int,
) -> None:
    """Append to `lines` a vessel and its branches, until they are too thin to draw."""
    end = (
        start[0] + side * length * math.cos(angle),
        start[1] + length * math.sin(angle),
    )
    lines.append((pose.pixel(start), pose.pixel(end), width))
    if width > 1:
        for fork in (-0.32, 0.32):
            turn = angle + fork + rng.normal(0.0, 0.12)
            grow(rng, lines, pose, end, side, turn, length * rng.uniform(0.7, 0.95), width - 1)
