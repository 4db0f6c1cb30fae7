"""One phantom from its class, seed and index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from pipeline.phantoms.anatomy import AIR_DEPTH, Anatomy, draw_chest
from pipeline.phantoms.canvas import Field, Pose, exact, resample, smooth_noise
from pipeline.phantoms.opacities import clear, ground_glass, interstitial

COVID: Final = "COVID-19"
NORMAL: Final = "NORMAL"
VIRAL: Final = "Viral Pneumonia"
# The paper's order; also the names of the class folders.
CLASSES: Final = (COVID, NORMAL, VIRAL)
MIN_SIZE: Final = 64
MAX_SIZE: Final = 8192

_OPACITIES: Final[
    dict[str, Callable[[np.random.Generator, Anatomy, Pose, Field, Field], Field]]
] = {COVID: ground_glass, NORMAL: clear, VIRAL: interstitial}

# Last word of the seed: streams that must not share numbers.
IMAGE_STREAM: Final = 0
PATIENT_STREAM: Final = 1
VISITS_STREAM: Final = 2
RECORD_STREAM: Final = 3
VIEW_STREAM: Final = 4

# 3 x 5 letters, one octal digit a row, so the mark hangs on no font or its version.
_LETTERS: Final = ("75744", "55755", "75755", "65555", "72222", "75557", "57755")  # PHANTOM


def stream(seed: int, class_index: int, index: int, purpose: int) -> np.random.Generator:
    """Return the generator of one image or patient, which hangs on nothing else."""
    return np.random.default_rng(np.random.SeedSequence((seed, class_index, index, purpose)))


def patient_of(class_name: str, index: int, *, seed: int) -> int:
    """Return the number (from 0) of the patient of image `index` (from 0) of a class.

    A quarter of the COVID-19 patients have two or three consecutive images; in the
    other classes every image is of another patient.
    """
    if class_name != COVID:
        return index
    # Patient p takes the p-th number of one stream, so the answer for an early image
    # stays the same however many images follow.
    chance = stream(seed, CLASSES.index(COVID), 0, VISITS_STREAM).random(index + 1)
    images = 1 + (chance < 0.25).astype(np.int64) + (chance < 0.125)
    return int(np.searchsorted(np.cumsum(images), index, side="right"))


def phantom(class_name: str, *, size: int, seed: int, index: int) -> NDArray[np.uint8]:
    """Return a synthetic chest X-ray, uint8 [size, size], 0 black to 255 white.

    Args:
        class_name: one of `CLASSES`.
        size: pixels a side, 64 to 8192. The same chest is shown at every size.
        seed: of the whole set, 0 or more.
        index: of the image within its class, 0 or more; its file has the number
            `index + 1`.

    Raises:
        InputError: an argument is out of its range.
    """
    check_class(class_name)
    check_size(size)
    check_natural("seed", seed)
    check_natural("index", index)
    class_index = CLASSES.index(class_name)
    patient = patient_of(class_name, index, seed=seed)
    anatomy = Anatomy.draw(stream(seed, class_index, patient, PATIENT_STREAM))
    rng = stream(seed, class_index, index, IMAGE_STREAM)
    pose = Pose.draw(rng)
    exposure = Exposure.draw(rng)
    chest = draw_chest(anatomy, pose)
    opacity = _OPACITIES[class_name](rng, anatomy, pose, chest.x, chest.y)
    attenuation = chest.attenuation + AIR_DEPTH * chest.lungs * opacity + chest.bones
    return expose(rng, exposure, attenuation, size)


@dataclass(frozen=True)
class Exposure:
    """The choices of the X-ray machine and its operator, drawn alike for every class."""

    brightness: float  # mean grey level to aim at
    contrast: float  # grey levels a unit of attenuation
    gamma: float
    noise: float  # grey levels
    tilt: tuple[float, float]  # uneven field, grey levels from centre to edge

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Exposure:
        """Return a random exposure."""
        return cls(
            brightness=rng.uniform(112.0, 144.0),
            contrast=rng.uniform(260.0, 300.0),
            gamma=rng.uniform(0.94, 1.06),
            noise=rng.uniform(1.5, 2.5),
            tilt=(rng.uniform(-6.0, 6.0), rng.uniform(-6.0, 6.0)),
        )


def expose(
    rng: np.random.Generator, exposure: Exposure, attenuation: Field, size: int
) -> NDArray[np.uint8]:
    """Return the exposed image, uint8 [size, size], of a field of attenuation."""
    film = exact(np.power, np.maximum(attenuation, 0.0), exposure.gamma)
    film += np.float32(0.012) * smooth_noise(rng, 10)  # soft tissue is not uniform
    # Like a machine's automatic exposure: the mean is set, not left to the lungs, so
    # that mean brightness does not tell the classes apart.
    film -= np.float32(film.mean(dtype=np.float64))
    film = film * np.float32(exposure.contrast) + np.float32(exposure.brightness)
    ramp = np.linspace(-1.0, 1.0, film.shape[0], dtype=np.float32)
    film += np.float32(exposure.tilt[0]) * ramp[None, :]
    film += np.float32(exposure.tilt[1]) * ramp[:, None]
    image = resample(film, size).copy()
    image += np.float32(exposure.noise) * rng.standard_normal((size, size), dtype=np.float32)
    np.clip(np.rint(image, out=image), 0.0, 255.0, out=image)
    grey = image.astype(np.uint8)
    stamp(grey)
    return grey


def stamp(grey: NDArray[np.uint8]) -> None:
    """Write PHANTOM into the lower left corner, in place; the same pixels for every class."""
    rows = [[int(letter[row], 8) for letter in _LETTERS] for row in range(5)]
    # Bit 3 is never set: it is the gap after a letter.
    bits = [[digit >> shift & 1 for digit in row for shift in (2, 1, 0, 3)] for row in rows]
    scale = max(1, grey.shape[0] // 256)
    plate = np.pad(np.array(bits, dtype=np.uint8) * 190, ((2, 2), (2, 1)), constant_values=30)
    plate[plate == 0] = 30
    plate = plate.repeat(scale, axis=0).repeat(scale, axis=1)
    grey[-plate.shape[0] :, : plate.shape[1]] = plate


def check_class(class_name: str) -> None:
    """Raise InputError unless `class_name` is one of `CLASSES`."""
    if class_name not in CLASSES:
        raise InputError(f"there is no phantom of class {class_name!r}; use one of {CLASSES}")


def check_size(size: int) -> None:
    """Raise InputError unless `size` is a possible number of pixels a side."""
    check_natural("size", size)
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"phantom size {size} is out of range; use {MIN_SIZE} to {MAX_SIZE}")


def check_natural(name: str, value: int) -> None:
    """Raise InputError unless `value` is a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"phantom {name} is {value!r}; use a whole number, 0 or more")
