"""The data that training reads: cached features as datasets, or pooled into vectors in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from models import feature_records
from models.augmentation_names import IDENTITY
from models.boundary import Part
from models.head_rows import Taps
from models.hyperparameters import TrainingParams
from schema.inputs import Input

Moments = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TrainingData:
    """Cached features, in batches of (features, labels).

    Attributes:
        training: all augmentations of the images, in an order that the seed gives.
        validation: the images as they are.
        hashes: SHA-256 of the validation images, in their order.
    """

    training: tf.data.Dataset
    validation: tf.data.Dataset
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class TapData:
    """Pooled vectors in memory.

    Attributes:
        training: {tap: float32 [rows, channels]}, labels int64 [rows].
        validation: the same, of the validation images.
    """

    training: tuple[Taps, np.ndarray]
    validation: tuple[Taps, np.ndarray]

    def select(self, taps: Sequence[str]) -> TapData:
        """Take some of the taps, in this order."""
        parts = (self.training, self.validation)
        return TapData(*(({tap: of[tap] for tap in taps}, labels) for of, labels in parts))

    def moments(self) -> Moments:
        """Mean and population variance per channel over the training rows; found once."""
        return self._moments

    @cached_property
    def _moments(self) -> Moments:
        return moments_of(self.training[0])

    def channels(self) -> dict[str, int]:
        """Tap -> channels."""
        return {name: values.shape[-1] for name, values in self.training[0].items()}


def moments_of(taps: Taps) -> Moments:
    """Mean and population variance per channel, each float64 [channels]."""
    doubled = {name: values.astype(np.float64) for name, values in taps.items()}
    return {name: (v.mean(axis=0), v.var(axis=0)) for name, v in doubled.items()}


@dataclass(frozen=True)
class ImageTaps:
    """Pooled vectors of all images that a head may be fitted to, in memory.

    Images are numbered in the order of their digests; each has a row for each augmentation.

    Attributes:
        taps: {tap: float32 [rows, channels]}.
        images: number of each row's image, int64 [rows].
        plain: the row of each image as it is, int64 [images].
        labels: of each image, int64 [images].
        sha256: of each image.
        groups: of each image, see `contract.GROUP`.
    """

    taps: Taps
    images: np.ndarray
    plain: np.ndarray
    labels: np.ndarray
    sha256: tuple[str, ...]
    groups: tuple[str, ...]

    def split(self, fitted: np.ndarray, asked: np.ndarray) -> TapData:
        """All augmentations of some images to train on, and some images as they are to answer.

        Args:
            fitted: numbers of the images to train on.
            asked: of those to answer, in this order.
        """
        rows = np.flatnonzero(np.isin(self.images, fitted))
        return TapData(
            (self._of(rows), self.labels[self.images[rows]]),
            (self._of(self.plain[asked]), self.labels[asked]),
        )

    def select(self, taps: Sequence[str]) -> ImageTaps:
        """Take some of the taps, in this order."""
        return replace(self, taps={tap: self.taps[tap] for tap in taps})

    def _of(self, rows: np.ndarray) -> Taps:
        return {tap: values[rows] for tap, values in self.taps.items()}


def read_image_taps(
    network: Part,
    params: TrainingParams,
    files: Sequence[str],
    beside: Sequence[Input] = (),
) -> ImageTaps:
    """Read cached features of several splits as a network's pooled taps.

    Args:
        network: the cut backbone.
        params: augmentations and batch size.
        files: patterns of the features, of all splits that are fitted.
        beside: inputs that go straight to the head; each is a further tap.
    """
    augmentations = params.training_augmentations
    keys = feature_records.read_keys(files, augmentations)
    specs = {**network.features, **feature_records.specs_of(beside)}
    taps, _ = _collect(
        network,
        feature_records.read(
            files, specs, batch_size=params.batch_size, augmentations=augmentations
        ),
    )
    plain = {key.sha256: row for row, key in enumerate(keys) if key.augmentation == IDENTITY}
    sha256 = sorted(plain)
    number = {digest: image for image, digest in enumerate(sha256)}
    rows = [plain[digest] for digest in sha256]
    return ImageTaps(
        taps,
        np.array([number[key.sha256] for key in keys]),
        np.array(rows),
        np.array([keys[row].label for row in rows]),
        tuple(sha256),
        tuple(keys[row].group for row in rows),
    )


def read_taps(
    network: Part,
    params: TrainingParams,
    *,
    train_files: Sequence[str],
    eval_files: Sequence[str],
    seed: int,
) -> TapData:
    """Read cached features as a network's pooled taps, in the order in which `train` does.

    Args:
        network: the cut backbone.
        params: augmentations and batch size.
        train_files: patterns of the training features.
        eval_files: patterns of the validation features.
        seed: of the order.
    """
    keras.utils.set_random_seed(seed)
    return taps_of(network, read_data(network, params, train_files, eval_files, seed))


def read_data(
    network: Part,
    params: TrainingParams,
    train_files: Sequence[str],
    eval_files: Sequence[str],
    seed: int,
) -> TrainingData:
    """Open cached features.

    Args:
        network: the cut backbone.
        params: augmentations and batch size.
        train_files: patterns of the training features.
        eval_files: patterns of the validation features.
        seed: of the order.
    """
    return TrainingData(
        training=feature_records.read(
            train_files,
            network.features,
            batch_size=params.batch_size,
            augmentations=params.training_augmentations,
            shuffle_seed=seed,
        ),
        validation=feature_records.read(
            eval_files, network.features, batch_size=params.batch_size, augmentations=(IDENTITY,)
        ),
        hashes=feature_records.read_hashes(eval_files, augmentations=(IDENTITY,)),
    )


def taps_of(network: Part, data: TrainingData) -> TapData:
    """Run the network behind the cut over both splits, in the datasets' order."""
    return TapData(_collect(network, data.training), _collect(network, data.validation))


def _collect(network: Part, dataset: tf.data.Dataset) -> tuple[Taps, np.ndarray]:
    forward = tf.function(
        lambda features: network.suffix(_as_float(features), training=False),
        reduce_retracing=True,
        autograph=False,
    )
    pooled: dict[str, list[np.ndarray]] = {}
    labels = []
    for features, label in dataset:
        labels.append(label.numpy())
        cached = {name: features.pop(name) for name in network.features}
        for name, values in (forward(cached) | features).items():
            pooled.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(v) for name, v in pooled.items()}, np.concatenate(labels)


def _as_float(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: tf.cast(values, tf.float32) for name, values in features.items()}
