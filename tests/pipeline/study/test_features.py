"""The store of features: what is kept, in which order it comes, and what a stop leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
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
from pipeline.study import features  # noqa: E402
from pipeline.study.features import FeatureStore, Labelled  # noqa: E402
from schema import contract  # noqa: E402

AUGMENTATIONS = ("identity", "mirror")
BATCH = 8  # Featurizer's


class CornerPrefix:
    """A "network" whose only feature is the upper left pixel; counts what it sees."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.images = 0
        self.loaded = 0
        self._fail_after = fail_after

    def __call__(self) -> CornerPrefix:
        self.loaded += 1
        return self

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for batch in batches:
            self.images += len(batch)
            if self._fail_after is not None and self.images > self._fail_after:
                raise KeyboardInterrupt
            yield {"corner": batch[:, 0, 0, 0].astype(np.float32)}


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


@settings(max_examples=10)
@given(data=st.data())
def test_a_split_comes_in_featurizers_order_however_the_store_was_filled(
    data: st.DataObject,
    folder: Path,
    images: list[Labelled],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = FeatureStore(root, {"network": 1})
    shuffled = data.draw(st.permutations(images))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(images)), max_size=3)))
    prefix = CornerPrefix()
    for start, end in zip([0, *cuts], [*cuts, len(images)], strict=True):
        part = shuffled[start:end]
        store.add(
            {augmentation: part for augmentation in AUGMENTATIONS},
            folder,
            prefix,
            lambda count: None,
        )
    assert prefix.images == len(images) * len(AUGMENTATIONS)
    chosen = data.draw(st.lists(st.sampled_from(images), min_size=1, unique=True))
    augmentations = data.draw(st.permutations(AUGMENTATIONS).map(lambda v: v[: 1 + len(cuts) % 2]))
    # Another object, as in another process.
    FeatureStore(root, {"network": 1}).write_split(root / "split", chosen, augmentations)
    assert _read(root / "split") == _expected(folder, chosen, augmentations)


def test_what_is_there_is_not_computed_again(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    first, second = CornerPrefix(), CornerPrefix()
    counted: list[int] = []
    FeatureStore(tmp_path, {"a": 1}).add({"identity": images[:10]}, folder, first, counted.append)
    assert sum(counted) == first.images == 10
    again = FeatureStore(tmp_path, {"a": 1})
    again.add({"identity": images[:10]}, folder, second, counted.append)
    assert second.loaded == 0
    again.add({"identity": images[:12], "mirror": images[:3]}, folder, second, counted.append)
    assert (second.loaded, second.images) == (1, 2 + 3)


def test_another_key_shares_nothing(folder: Path, images: list[Labelled], tmp_path: Path) -> None:
    FeatureStore(tmp_path, {"a": 1}).add(
        {"identity": images}, folder, CornerPrefix(), lambda count: None
    )
    assert len(FeatureStore(tmp_path, {"a": 2}).missing(images, "identity")) == len(images)


def test_an_image_that_changed_its_class_is_computed_for_it(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    """The label is in the record, and an image can be moved to another folder."""
    store = FeatureStore(tmp_path, {})
    store.add({"identity": images}, folder, CornerPrefix(), lambda count: None)
    moved = [Labelled(i.sha256, "c", 2, i.path, i.group) for i in images[:2]]
    assert len(store.missing([*moved, *images[2:]], "identity")) == 2
    store.add({"identity": moved}, folder, CornerPrefix(), lambda count: None)
    store.write_split(tmp_path / "split", [*moved, *images[2:]], ["identity"])
    assert _read(tmp_path / "split") == _expected(folder, [*moved, *images[2:]], ["identity"])


def test_an_interruption_costs_one_part(
    folder: Path, images: list[Labelled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_PART_IMAGES", 8)
    stopped = FeatureStore(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        stopped.add({"identity": images}, folder, CornerPrefix(fail_after=17), lambda count: None)
    store = FeatureStore(tmp_path, {})
    assert len(store.missing(images, "identity")) == len(images) - 16
    rest = CornerPrefix()
    store.add({"identity": images}, folder, rest, lambda count: None)
    assert rest.images == len(images) - 16
    store.write_split(tmp_path / "split", images, ["identity"])
    assert _read(tmp_path / "split") == _expected(folder, images, ["identity"])


def test_a_part_whose_records_are_gone_is_computed_again(
    folder: Path, images: list[Labelled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_PART_IMAGES", 8)
    store = FeatureStore(tmp_path, {})
    store.add({"identity": images}, folder, CornerPrefix(), lambda count: None)
    (store.folder / "identity" / "part-00001.tfrecord").unlink()
    store = FeatureStore(tmp_path, {})
    assert len(store.missing(images, "identity")) == len(images) - 8
    store.add({"identity": images}, folder, CornerPrefix(), lambda count: None)
    store.write_split(tmp_path / "split", images, ["identity"])
    assert _read(tmp_path / "split") == _expected(folder, images, ["identity"])


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
        FeatureStore(tmp_path, {}).add(
            {"identity": images[:2]}, copy, CornerPrefix(), lambda count: None
        )


def test_a_split_of_images_that_are_not_there_is_refused(
    folder: Path, images: list[Labelled], tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path, {})
    store.add({"identity": images[:3]}, folder, CornerPrefix(), lambda count: None)
    with pytest.raises(KeyError, match="identity of 2 images"):
        store.write_split(tmp_path / "split", images[:5], ["identity"])
