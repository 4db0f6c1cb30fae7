"""The frozen network's features of every image, computed once and kept.

A store is a folder; in it each augmentation has a folder of parts, `part-00000.tfrecord` and so on,
each with a list of its images in `part-00000.json`, which is written last: a part without it
doesn't count. Within a part the images are sorted by their hash. What a store holds depends
on its key alone; images and augmentations that are asked for later become further parts.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from common.errors import InputError
from components.radiograph_example_gen.inspection import read_regular_file
from components.radiograph_example_gen.readers import reader_of
from models import feature_records
from models.augmentations import augmented
from models.preprocessing import decode_and_resize
from pipeline.study.files import digest_of, read_json, unfinished, write_json

# As in Featurizer: of that many images one augmentation of all follows another.
_BATCH = 8
# What an interruption costs at most.
_PART_IMAGES = 256
# Digest, label and group, which are in the record.
Identity = tuple[str, int, str]


class Featurizing(Protocol):
    """The interface of `models.prefix.Prefix` that is used here."""

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Turn batches of uint8 [n, 256, 256, 1] into an array [n, ...] for each feature name."""


@dataclass(frozen=True, order=True)
class Labelled:
    """An image file and its class.

    Attributes:
        sha256: hex digest of the file.
        class_name: of the class.
        label: its index.
        path: relative to the data folder.
        group: as `contract.GROUP`.
        bits_stored: by which its values are scaled; 0 where they aren't.
    """

    sha256: str
    class_name: str
    label: int
    path: str
    group: str
    bits_stored: int = 0

    @property
    def identity(self) -> Identity:
        """The key by which a record is found."""
        return self.sha256, self.label, self.group


class FeatureStore:
    """Features of one frozen network, of any images and augmentations."""

    def __init__(self, parent: Path, key: Mapping[str, Any]) -> None:
        """Open what is there.

        Args:
            parent: folder of the backbone's stores.
            key: all that the features depend on, besides image and augmentation.
        """
        self._key = dict(key)
        self.folder = parent / digest_of(self._key)[:16]
        self._parts: dict[str, list[_Part]] = {}

    def missing(self, images: Iterable[Labelled], augmentation: str) -> list[Labelled]:
        """List those of which the augmentation is not in here yet, sorted by hash."""
        there = self._there(augmentation)
        return sorted(image for image in images if image.identity not in there)

    def add(
        self,
        needed: Mapping[str, Collection[Labelled]],
        data_dir: Path,
        prefix: Callable[[], Featurizing],
        progress: Callable[[int], None],
    ) -> None:
        """Compute and keep what is missing.

        Args:
            needed: augmentation -> images of which it has to be in here afterwards.
            data_dir: the images' paths start there.
            prefix: loads the frozen network; not called where nothing is missing.
            progress: told how many records have been added since it was called last.

        Raises:
            InputError: an image is gone or has changed.
            FloatingPointError: an activation doesn't fit the stored dtype.
        """
        loaded: Featurizing | None = None
        for augmentation, images in needed.items():
            missing = self.missing(images, augmentation)
            for start in range(0, len(missing), _PART_IMAGES):
                if loaded is None:
                    write_json(self.folder / "key.json", self._key)
                    loaded = prefix()
                part = missing[start : start + _PART_IMAGES]
                self._add_part(part, augmentation, data_dir, loaded, progress)

    def write_split(
        self, target: Path, images: Iterable[Labelled], augmentations: Sequence[str]
    ) -> None:
        """Write the records of some images, in the order that Featurizer gives them.

        That is the order by hash, as long as Featurizer needs one file for the split (up to
        some 700 images); the order decides which images a training step sees together.

        Args:
            target: TFRecord file.
            images: all in here.
            augmentations: of each.

        Raises:
            KeyError: an image isn't in here.
        """
        wanted = {image.identity for image in images}
        streams = [self._stream(augmentation, wanted) for augmentation in augmentations]
        with tf.io.TFRecordWriter(str(target)) as writer:
            for _ in range(0, len(wanted), _BATCH):
                for stream in streams:
                    for record in islice(stream, _BATCH):
                        writer.write(record)

    def _there(self, augmentation: str) -> set[Identity]:
        return {identity for part in self._of(augmentation) for identity in part.images}

    def _of(self, augmentation: str) -> list[_Part]:
        if augmentation not in self._parts:
            self._parts[augmentation] = list(_finished_parts(self.folder / augmentation))
        return self._parts[augmentation]

    def _stream(self, augmentation: str, wanted: set[Identity]) -> Iterator[bytes]:
        """Yield the records of one augmentation, by hash."""
        if absent := wanted - self._there(augmentation):
            raise KeyError(f"{augmentation} of {len(absent)} images is not in {self.folder}")
        parts = [part for part in self._of(augmentation) if wanted.intersection(part.images)]
        merged = heapq.merge(*(part.read(wanted) for part in parts), key=lambda item: item[0])
        return (record for _, record in merged)

    def _add_part(
        self,
        images: Sequence[Labelled],
        augmentation: str,
        data_dir: Path,
        prefix: Featurizing,
        progress: Callable[[int], None],
    ) -> None:
        parts = self._of(augmentation)
        folder = self.folder / augmentation
        folder.mkdir(parents=True, exist_ok=True)
        part = _Part(folder / f"part-{len(parts):05d}", tuple(i.identity for i in images))
        batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        with tf.io.TFRecordWriter(str(unfinished(part.records))) as writer:
            stream = prefix.stream(_pixels(batches, data_dir, augmentation))
            for batch, features in zip(batches, stream, strict=True):
                images_of = (
                    (i.sha256.encode(), i.class_name.encode(), i.label, i.group.encode())
                    for i in batch
                )
                for record in feature_records.serialize_batch(
                    features, augmentation=augmentation, images=images_of
                ):
                    writer.write(record)
                progress(len(batch))
        unfinished(part.records).replace(part.records)
        write_json(part.index, [list(identity) for identity in part.images])
        parts.append(part)


@dataclass(frozen=True)
class _Part:
    stem: Path
    images: tuple[Identity, ...]

    @property
    def records(self) -> Path:
        return self.stem.with_suffix(".tfrecord")

    @property
    def index(self) -> Path:
        return self.stem.with_suffix(".json")

    def read(self, wanted: set[Identity]) -> Iterator[tuple[str, bytes]]:
        """Yield (hash, record) of the images that are wanted."""
        records = tf.data.TFRecordDataset(str(self.records)).as_numpy_iterator()
        for identity, record in zip(self.images, records, strict=True):
            if identity in wanted:
                yield identity[0], record


def _finished_parts(folder: Path) -> Iterator[_Part]:
    """Find parts from the first on, up to a gap: a part behind one would be written over."""
    for number in range(len(list(folder.glob("part-*.json")))):
        stem = folder / f"part-{number:05d}"
        images = read_json(_Part(stem, ()).index)
        part = _Part(stem, tuple((sha256, label, group) for sha256, label, group in images or ()))
        if not part.images or not part.records.is_file():
            return
        yield part


def _pixels(
    batches: Iterable[Sequence[Labelled]], data_dir: Path, augmentation: str
) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches:
            pixels = tf.stack(list(pool.map(lambda image: _decoded(data_dir, image), batch)))
            yield augmented(pixels, augmentation).numpy()


def _decoded(data_dir: Path, image: Labelled) -> tf.Tensor:
    try:
        content = read_regular_file(data_dir / image.path)
    except OSError as error:
        raise InputError(
            f"data.dir: {image.path} can no longer be read: {error.strerror or error}."
        ) from error
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise InputError(f"data.dir: {image.path} was changed during the study; start it again.")
    content = reader_of(content).for_example(content, image.bits_stored)
    return decode_and_resize(tf.constant(content))
