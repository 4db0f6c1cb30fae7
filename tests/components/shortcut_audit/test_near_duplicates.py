"""Planted near-duplicates are found, and nothing else is."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from common.runtime import prepare_environment

prepare_environment()

from components.shortcut_audit import near_duplicates  # noqa: E402
from components.shortcut_audit.near_duplicates import (  # noqa: E402
    MAX_BITS,
    correlations,
    find_pairs,
    perceptual_hash,
)
from components.shortcut_audit.radiographs import texture  # noqa: E402
from pipeline.phantoms import write_phantoms  # noqa: E402

Change = Callable[[Image.Image], Image.Image]
# The demo preset's: phantoms are alike.
ALIKE = 0.92


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("L")


def _cropped(image: Image.Image) -> Image.Image:
    """2 % off the left and the top, 1 % off the right."""
    width, height = image.size
    return image.crop((round(0.02 * width), round(0.02 * height), round(0.99 * width), height))


CHANGES: dict[str, Change] = {
    "re-encoded": _jpeg,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "gamma": lambda image: image.point(lambda level: round(255 * (level / 255) ** 1.4)),
    "larger": lambda image: image.resize((300, 300), Image.Resampling.BICUBIC),
    "smaller": lambda image: image.resize((80, 80), Image.Resampling.BOX),
    "cropped": _cropped,
    "cropped and resized": lambda image: _cropped(image).resize((200, 180)),
    "cropped, brightened, re-encoded": lambda image: _jpeg(
        ImageEnhance.Brightness(_cropped(image)).enhance(1.1)
    ),
}


def _small(images: list[Image.Image]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Thumbnails and textures, as `radiographs` makes them."""
    boxed = [
        np.asarray(image.convert("F").resize((64, 64), Image.Resampling.BOX)) for image in images
    ]
    thumbnails = np.stack([image.reshape(32, 2, 32, 2).mean((1, 3)) for image in boxed])
    return thumbnails, [texture(image) for image in boxed]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """Ten of each class."""
    folder = tmp_path_factory.mktemp("images") / "phantoms"
    write_phantoms(folder, per_class=(10, 10, 10), size=128, seed=0)
    return [Image.open(file).convert("L") for file in sorted(folder.rglob("*.png"))]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_planted_is_found_and_unrelated_phantoms_are_not(
    phantoms: list[Image.Image], change: Change
) -> None:
    planted = [change(image) for image in phantoms[::5]]
    thumbnails, textures = _small([*phantoms, *planted])
    splits = ["train"] * len(phantoms) + ["test"] * len(planted)
    pairs = find_pairs(thumbnails, textures, splits, ALIKE)
    expected = [(5 * index, len(phantoms) + index) for index in range(len(planted))]
    assert [(pair.first, pair.second) for pair in pairs] == expected
    assert all(pair.bits <= MAX_BITS and pair.correlation >= ALIKE for pair in pairs)


def test_of_many_copies_those_in_other_splits_are_not_crowded_out(
    phantoms: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_MOST_CANDIDATES", 8)
    copies = 3 * near_duplicates._MOST_CANDIDATES
    thumbnails, textures = _small([phantoms[0]])
    thumbnails = np.repeat(thumbnails, copies + 1, axis=0)
    splits = ["train"] * copies + ["test"]
    pairs = find_pairs(thumbnails, textures * (copies + 1), splits, ALIKE)
    assert any(pair.second == copies for pair in pairs)
    # Work and report grow with the number of images, not with its square.
    assert len(pairs) <= 2 * near_duplicates._MOST_CANDIDATES * (copies + 1)


def test_what_is_kept_at_a_time_changes_nothing(
    phantoms: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = phantoms[::2]
    thumbnails, textures = _small([*some, *map(_cropped, some)])
    splits = ["train", "test"] * len(some)
    whole = find_pairs(thumbnails, textures, splits, 0.5)
    assert len({pair.first // 7 for pair in whole}) > 1
    monkeypatch.setattr(near_duplicates, "_BLOCK", 7)
    in_blocks = find_pairs(thumbnails, textures, splits, 0.5)
    assert [(p.first, p.second, p.bits) for p in in_blocks] == [
        (p.first, p.second, p.bits) for p in whole
    ]
    np.testing.assert_allclose(
        [p.correlation for p in in_blocks], [p.correlation for p in whole], atol=1e-5
    )
    # Each is what the two textures give by themselves.
    for pair in whole[::20]:
        alone = correlations(textures[pair.second], [textures[pair.first]])
        assert pair.correlation == pytest.approx(alone[0], abs=1e-5)


def test_images_without_any_structure_are_no_duplicates() -> None:
    thumbnails, textures = _small([Image.new("L", (99, 99), level) for level in (0, 40, 255)])
    assert find_pairs(thumbnails, textures, ["train", "eval", "test"], 0.1) == []


def test_the_order_of_two_images_hardly_matters(phantoms: list[Image.Image]) -> None:
    _, (one, other) = _small([phantoms[0], _cropped(phantoms[0])])
    there, back = correlations(one, [other])[0], correlations(other, [one])[0]
    assert there == pytest.approx(back, abs=0.02)
    assert correlations(one, [one])[0] == pytest.approx(1, abs=1e-3)


@given(gain=st.floats(0.2, 3), offset=st.floats(-200, 200), seed=st.integers(0, 99))
def test_the_hash_knows_neither_brightness_nor_contrast(
    gain: float, offset: float, seed: int
) -> None:
    images = np.random.default_rng(seed).uniform(0, 255, (3, 32, 32))
    changed = perceptual_hash((gain * images + offset).astype(np.float32))
    np.testing.assert_array_equal(changed, perceptual_hash(images.astype(np.float32)))
    # As many above the median as below.
    assert (changed.sum(1) == 32).all()


@given(
    seed=st.integers(0, 10_000),
    images=st.integers(0, 40),
    flips=st.integers(0, 24),
    cells=st.sampled_from([1, 100, 1 << 20]),
)
def test_the_candidates_are_those_of_counting_bits_pair_by_pair(
    seed: int, images: int, flips: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    hashes = np.repeat(rng.random((1, 64)) > 0.5, images, axis=0)
    for row in hashes:
        row[rng.choice(64, flips, replace=False)] ^= True
    expected = sorted(
        (second, first, int((hashes[first] != hashes[second]).sum()))
        for second in range(images)
        for first in range(second)
        if (hashes[first] != hashes[second]).sum() <= MAX_BITS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_CELLS", cells)
        found = near_duplicates._candidates(hashes, rng.integers(0, 3, images))
    assert [(second, first, bits) for first, second, bits in found.tolist()] == expected
