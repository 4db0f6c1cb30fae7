"""Text near the edges is found, whatever its colour; a chest and a side marker are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.deidentify.burned_in import find_text
from pipeline.phantoms.render import NORMAL, phantom


def chest(side: int = 512, seed: int = 0) -> Image.Image:
    """A phantom without its mark, over which the rows above it are repeated."""
    image = phantom(NORMAL, size=side, seed=seed, index=0).copy()
    image[int(0.96 * side) :] = image[int(0.96 * side)]
    return Image.fromarray(image)


def written(text: str, place: tuple[float, float], grey: int, size: float = 0.03) -> np.ndarray:
    image = chest()
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=size * image.width)
    draw.text((place[0] * image.width, place[1] * image.height), text, fill=grey, font=font)
    return np.asarray(image)


@pytest.mark.parametrize("seed", range(12))
def test_a_chest_is_no_text(seed: int) -> None:
    assert find_text(np.asarray(chest(seed=seed))) == []


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_the_mark_of_a_phantom_is_found_letter_by_letter(side: int) -> None:
    (box,) = find_text(phantom(NORMAL, size=side, seed=1, index=0))
    assert box.letters == len("PHANTOM")


@pytest.mark.parametrize("place", [(0.02, 0.02), (0.6, 0.02), (0.02, 0.94), (0.6, 0.94)])
@pytest.mark.parametrize("size", [0.025, 0.03, 0.05])
def test_white_text_in_a_corner_is_found(place: tuple[float, float], size: float) -> None:
    (box, *_) = find_text(written("MEIER 1961", place, 255, size))
    assert box.letters >= 3
    assert abs(box.left - place[0]) < 0.3 and abs(box.top - place[1]) < 0.1


def test_black_text_on_a_bright_band_is_found() -> None:
    image = chest()
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, image.width, 40), fill=230)
    draw.text((20, 8), "MEIER 1961", fill=0, font=ImageFont.load_default(size=18))
    assert find_text(np.asarray(image))


def test_text_is_found_in_twelve_bits_inverted_and_in_colour() -> None:
    grey = written("MEIER 1961", (0.02, 0.02), 255)
    assert find_text(grey.astype(np.uint16) * 16)
    assert find_text(4095 - grey.astype(np.int16) * 16)
    assert find_text(np.stack([grey] * 3, axis=-1))


def test_text_is_found_in_a_large_image() -> None:
    image = Image.fromarray(written("MEIER 1961", (0.02, 0.02), 255)).resize((3000, 3000))
    assert find_text(np.asarray(image))


def test_a_lone_side_marker_is_no_text() -> None:
    assert find_text(written("L", (0.05, 0.05), 255, 0.05)) == []
