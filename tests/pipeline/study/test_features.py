"""A study's images and the store: whose features are asked for, and in which order they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from common.errors import InputError  # noqa: E402
from models.augmentations import augmented  # noqa: E402
from pipeline.study.features import ImageFeatures, Labelled, Pixels  # noqa: E402
from schema import contract  # noqa: E402
from tests.corner_prefix import CornerPrefix, stored  # noqa: E402

AUGMENTATIONS = ("identity", "mirror")
BATCH = 8  # Featurizer's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 images that differ; 256 pixels, so that nothing is interpolated."""
    directory = tmp_path_factory.mktemp("images")
    for number in range(21):
        pixels = np.full((256, 256), number, np.uint8)
        pixels[:, 128:] = 100 + number
        Image.fromarray(pixels).save(directory / f"{number}.png")
    return directory


@pytest.fixture(scope="module")
def images(folder: Path) -> list[Labelled]:
    """The files, in no particular order."""
    return [
        Labelled(
            hashlib.sha256(path.read_bytes()).hexdigest(),
            "ab"[number % 2],
            number % 2,
            path.name,
            f"group {number}",
        )
        for number, path in enumerate(sorted(folder.iterdir()))
    ]


def _features(root: Path, folder: Path, prefix: CornerPrefix) -> ImageFeatures:
    """As in a new process."""
    return ImageFeatures(stored(str(root), prefix), Pixels(folder))


def _nobody(done: int, total: int) -> None:
    assert done <= total


def _read(path: Path) -> list[tuple[str, str, int, float]]:
    """sha256, augmentation, label and feature of each record."""
    rows = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        corner = np.frombuffer(
            fields[contract.FEATURE_PREFIX + "corner"].bytes_list.value[0], np.float32
        )
        rows.append(
            (
                fields[contract.SHA256].bytes_list.value[0].decode(),
                fields[contract.AUGMENTATION_NAME].bytes_list.value[0].decode(),
                fields[contract.LABEL].int64_list.value[0],
                float(corner[0]),
            )
        )
    return rows


def _expected(
    folder: Path, images: Iterable[Labelled], augmentations: Sequence[str]
) -> list[tuple[str, str, int, float]]:
    """By hash; of each eight images first all of one augmentation, then all of the next."""
    ordered = sorted(images, key=lambda image: image.sha256)
    rows = []
    for start in range(0, len(ordered), BATCH):
        for augmentation in augmentations:
            for image in ordered[start : start + BATCH]:
                pixels = np.asarray(Image.open(folder / image.path))[np.newaxis, :, :, np.newaxis]
                corner = float(augmented(tf.constant(pixels), augmentation).numpy()[0, 0, 0, 0])
                rows.append((image.sha256, augmentation, image.label, corner))
    return rows


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_split_comes_in_featurizers_order_however_the_store_was_filled(
    data: st.DataObject,
    folder: Path,
    images: list[Labelled],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("store")
    shuffled = data.draw(st.permutations(images))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(images)), max_size=2)))
    prefix = CornerPrefix()
    features = _features(root, folder, prefix)
    for start, end in zip([0, *cuts], [*cuts, len(images)], strict=True):
        features.add({name: shuffled[start:end] for name in AUGMENTATIONS}, _nobody)
    assert prefix.images == len(images) * len(AUGMENTATIONS)
    chosen = data.draw(st.lists(st.sampled_from(images), min_size=1, unique=True))
    augmentations = data.draw(st.permutations(AUGMENTATIONS).map(lambda v: v[: 1 + len(cuts) % 2]))
    other = CornerPrefix()
    _features(root, folder, other).write_split(root / "split", chosen, augmentations)
    assert other.loaded == 0
    assert _read(root / "split") == _expected(folder, chosen, augmentations)


def test_what_is_there_is_not_computed_again_and_progress_is_of_the_rest(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    first, second = CornerPrefix(), CornerPrefix()
    told: list[tuple[int, int]] = []
    _features(tmp_path, folder, first).add(
        {"identity": images[:10]}, lambda *told_of: told.append(told_of)
    )
    assert told == [(8, 10), (10, 10)]
    assert first.images == 10
    again = _features(tmp_path, folder, second)
    again.add({"identity": images[:10]}, lambda *told_of: told.append(told_of))
    assert second.loaded == 0
    assert len(told) == 2
    again.add({"identity": images[:12], "mirror": images[:3]}, _nobody)
    assert (second.loaded, second.images) == (1, 2 + 3)


def test_an_image_that_changed_its_class_needs_no_network(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    """The label is not in the store: an image can be moved to another folder."""
    _features(tmp_path, folder, CornerPrefix()).add({"identity": images}, _nobody)
    moved = [Labelled(i.sha256, "c", 2, i.path, i.group) for i in images[:2]]
    prefix = CornerPrefix()
    features = _features(tmp_path, folder, prefix)
    features.write_split(tmp_path / "split", [*moved, *images[2:]], ["identity"])
    assert prefix.loaded == 0
    assert _read(tmp_path / "split") == _expected(folder, [*moved, *images[2:]], ["identity"])


@pytest.mark.parametrize("change", ["gone", "other"])
def test_an_image_that_is_no_longer_what_was_inspected_stops_the_study(
    change: str, folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for image in images[:2]:
        (copy / image.path).write_bytes((folder / image.path).read_bytes())
    victim = copy / images[1].path
    if change == "gone":
        victim.unlink()
    else:
        victim.write_bytes((folder / images[2].path).read_bytes())
    with pytest.raises(InputError, match=rf"data\.dir: {victim.name} "):
        _features(tmp_path, copy, CornerPrefix()).add({"identity": images[:2]}, _nobody)


def test_without_a_store_a_split_goes_through_the_prefix(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    """As at the boundary `input`, where there is nothing to compute."""
    prefix = CornerPrefix()
    features = ImageFeatures(stored(None, prefix), Pixels(folder))
    features.add({"identity": images}, _nobody)
    assert prefix.images == 0
    features.write_split(tmp_path / "split", images, AUGMENTATIONS)
    assert _read(tmp_path / "split") == _expected(folder, images, AUGMENTATIONS)
