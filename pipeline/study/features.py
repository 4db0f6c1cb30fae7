"""The frozen network's features of a study's images, out of the store that runs have, too.

The store knows an image by what a network sees of it (`models.feature_store`). A study begins with
files: each is decoded once for its keys, and again where its features have to be computed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import InputError
from components.radiograph_example_gen.inspection import read_regular_file
from components.radiograph_example_gen.readers import reader_of
from models import feature_records
from models.augmentations import augmented
from models.feature_store.keys import image_key
from models.feature_store.stored_prefix import Features, StoredPrefix
from models.preprocessing import decode_and_resize
from models.rendering import DEFAULT, Rendering

# As in Featurizer: of that many images one augmentation of all follows another.
_BATCH = 8


@dataclass(frozen=True, order=True)
class Labelled:
    """An image file and its class.

    Attributes:
        sha256: by which the image is known.
        class_name: of the class.
        label: its index.
        path: relative to the data folder.
        group: as `contract.GROUP`.
        bits_stored: by which its values are scaled; 0 where they aren't.
        file_sha256: hex digest of the file, where `sha256` is another.
    """

    sha256: str
    class_name: str
    label: int
    path: str
    group: str
    bits_stored: int = 0
    file_sha256: str = ""


# Images of one augmentation.
_Step = tuple[Sequence[Labelled], str]


class Pixels:
    """The images as networks see them, and their keys in the store, which are kept."""

    def __init__(self, data_dir: Path, rendering: Rendering = DEFAULT) -> None:
        """Read nothing yet.

        Args:
            data_dir: the images' paths start there.
            rendering: of DICOM.
        """
        self._data_dir = data_dir
        self._rendering = rendering
        self._keys: dict[tuple[str, int, str], bytes] = {}
        self._readers = ThreadPoolExecutor(os.cpu_count())

    def of(self, images: Sequence[Labelled], augmentation: str) -> np.ndarray:
        """Decode some images: uint8 [n, 256, 256, 1].

        Raises:
            InputError: an image is gone or has changed.
        """
        found: np.ndarray = augmented(self._decoded(images), augmentation).numpy()
        return found

    def add_keys(self, needed: Mapping[str, Collection[Labelled]]) -> None:
        """Hash what networks see, where that isn't known: each image is decoded once for all.

        Args:
            needed: augmentation -> images.

        Raises:
            InputError: an image is gone or has changed.
        """
        new: dict[Labelled, list[str]] = {}
        for augmentation, images in needed.items():
            for image in images:
                if (image.sha256, image.bits_stored, augmentation) not in self._keys:
                    new.setdefault(image, []).append(augmentation)
        images = sorted(new)
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            decoded = self._decoded(batch)
            for augmentation in dict.fromkeys(name for image in batch for name in new[image]):
                rows = augmented(decoded, augmentation).numpy()
                for image, pixels in zip(batch, rows, strict=True):
                    key = (image.sha256, image.bits_stored, augmentation)
                    self._keys[key] = image_key(pixels)

    def keys_of(self, images: Sequence[Labelled], augmentation: str) -> list[bytes]:
        """Return the keys of images, which `add_keys` knows."""
        return [self._keys[image.sha256, image.bits_stored, augmentation] for image in images]

    def _decoded(self, images: Sequence[Labelled]) -> tf.Tensor:
        decoded = self._readers.map(
            lambda image: _decoded(self._data_dir, image, self._rendering), images
        )
        return tf.stack(list(decoded))


class ImageFeatures:
    """Features of one frozen network, of any of the study's images and augmentations."""

    def __init__(self, prefix: StoredPrefix, pixels: Pixels) -> None:
        """Compute nothing yet.

        Args:
            prefix: of the network.
            pixels: of the study.
        """
        self._prefix = prefix
        self._pixels = pixels

    def add(
        self, needed: Mapping[str, Collection[Labelled]], progress: Callable[[int, int], None]
    ) -> None:
        """Compute what isn't in the store.

        Args:
            needed: augmentation -> images of which it has to be there afterwards.
            progress: told how many features of how many are there now; not called where none is
                missing.

        Raises:
            InputError: an image is gone or has changed, or nothing can be written to the store.
            FloatingPointError: an activation doesn't fit the stored dtype.
        """
        if self._prefix.network is None:
            return
        self._pixels.add_keys(needed)
        steps: list[_Step] = []
        total = 0
        for augmentation, images in needed.items():
            ordered = sorted(images)
            rows = self._prefix.missing(self._pixels.keys_of(ordered, augmentation))
            missing = [ordered[row] for row in rows]
            total += len(missing)
            batches = (missing[at : at + _BATCH] for at in range(0, len(missing), _BATCH))
            steps += [(batch, augmentation) for batch in batches]
        done = 0
        for features in self._stream(steps):
            done += len(features)
            progress(done, total)

    def write_split(
        self, target: Path, images: Collection[Labelled], augmentations: Sequence[str]
    ) -> None:
        """Write the records of some images, in the order that Featurizer gives them.

        That is the order by hash, as long as Featurizer needs one file for the split (up to
        some 700 images); the order decides which images a training step sees together.

        Args:
            target: TFRecord file.
            images: of the study.
            augmentations: of each.

        Raises:
            InputError: as `add`.
            FloatingPointError: likewise.
        """
        if self._prefix.network is not None:
            self._pixels.add_keys({augmentation: images for augmentation in augmentations})
        ordered = sorted(images)
        steps = [
            (ordered[start : start + _BATCH], augmentation)
            for start in range(0, len(ordered), _BATCH)
            for augmentation in augmentations
        ]
        with tf.io.TFRecordWriter(str(target)) as writer:
            for (batch, augmentation), features in zip(steps, self._stream(steps), strict=True):
                for image, of_image in zip(batch, features, strict=True):
                    record = feature_records.serialize(
                        of_image,
                        augmentation=augmentation,
                        label=image.label,
                        class_name=image.class_name.encode(),
                        sha256=image.sha256.encode(),
                        group=image.group.encode(),
                    )
                    writer.write(record)

    def _stream(self, steps: Sequence[_Step]) -> Iterator[list[Features]]:
        keys = None
        if self._prefix.network is not None:
            keys = [self._pixels.keys_of(*step) for step in steps]
        if steps:
            stream = self._prefix.stream(len(steps), lambda at: self._pixels.of(*steps[at]), keys)
            yield from (features for _, features in stream)


def _decoded(data_dir: Path, image: Labelled, rendering: Rendering) -> tf.Tensor:
    try:
        content = read_regular_file(data_dir / image.path)
    except OSError as error:
        raise InputError(
            f"data.dir: {image.path} can no longer be read: {error.strerror or error}."
        ) from error
    if hashlib.sha256(content).hexdigest() != (image.file_sha256 or image.sha256):
        raise InputError(f"data.dir: {image.path} was changed during the study; start it again.")
    content = reader_of(content).for_example(content, image.bits_stored, rendering)
    return decode_and_resize(tf.constant(content))
