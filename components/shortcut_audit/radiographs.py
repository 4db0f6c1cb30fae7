"""The facts that the audit keeps of each image: texture, thumbnail, and what is known of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tfx import types
from tfx.types import artifact_utils

from schema import contract

# Twice the side of what the shortcuts are fitted on: enough to compare ribs by.
TEXTURE_SIDE: Final = 64
THUMBNAIL_SIDE: Final = TEXTURE_SIDE // 2
STATISTICS: Final = (
    contract.WIDTH,
    contract.HEIGHT,
    contract.BYTES,
    contract.MEAN,
    contract.STD,
    contract.ENTROPY,
)
# Pixels of the small image. Structures wider than this (exposure, the body's outline, the lungs
# as a whole) are much the same in all radiographs, and say nothing of whose they are.
_FINE: Final = 1.6
# Grey levels²: the contrast below which noise would be blown up to texture.
_FAINTEST: Final = 1.0


@dataclass(frozen=True)
class Radiograph:
    """One image; everything but its pixels in full.

    Attributes:
        split: one of `contract.SPLITS`.
        path: relative to the data folder.
        sha256: hex digest of the file.
        label: index of the class.
        class_name: the class.
        patient: id; `contract.UNKNOWN` where there is none.
        text: column of metadata.csv -> value; `contract.UNKNOWN` where there is none.
        numbers: column of metadata.csv -> value; NaN where there is none.
        statistics: float64 [6], in the order of `STATISTICS`.
        thumbnail: float32 [32, 32], mean grey levels 0..255; squashed to a square, as
            Transform does.
        texture: float16 [64, 64], see `texture`.
    """

    split: str
    path: str
    sha256: str
    label: int
    class_name: str
    patient: str
    text: Mapping[str, str]
    numbers: Mapping[str, float]
    statistics: NDArray[np.float64]
    thumbnail: NDArray[np.float32]
    texture: NDArray[np.float16]


def read_radiographs(examples: types.Artifact) -> list[Radiograph]:
    """Read all splits, and decode each image once.

    A few images are decoded at the same time and let go again: what stays is about 14 KB an
    image, whatever its size.

    Args:
        examples: RadiographExampleGen's; the order in it is that of the result.
    """
    return [
        _radiograph(split, values)
        for split in contract.SPLITS
        for values in _small_images(examples, split)
    ]


def texture(grey: NDArray[np.float32]) -> NDArray[np.float16]:
    """Compute the fine structure of a small image at equal contrast everywhere.

    The image less its Gaussian blur, divided by the local root mean square of that: what
    brightness, contrast, gamma and re-encoding leave as it is.

    Args:
        grey: float32 [n, n], grey levels.

    Returns:
        float16 [n, n], of about unit variance.
    """
    fine = grey - gaussian_filter(grey, _FINE, mode="nearest")
    power = gaussian_filter(fine * fine, 2 * _FINE, mode="nearest")
    # A sum of squares, whose rounding can leave it below 0 nowhere but in theory.
    return (fine / np.sqrt(np.maximum(power, 0) + _FAINTEST)).astype(np.float16)


def _small_images(examples: types.Artifact, split: str) -> Iterator[dict[str, Any]]:
    folder = artifact_utils.get_split_uri([examples], split)
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*")))
    # Parallel calls are handed on in order, and no more are under way than there are threads.
    records = tf.data.TFRecordDataset(files, "GZIP")
    small = records.map(_shrink, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    yield from small.as_numpy_iterator()


def _shrink(record: tf.Tensor) -> dict[str, tf.Tensor]:
    values = tf.io.parse_single_example(record, _FEATURES)
    # Transform's decoder: what it sees is what is audited.
    grey = tf.io.decode_png(values.pop(contract.IMAGE), channels=1)
    # "area": each pixel is the mean of all that it stands for.
    small = tf.image.resize(grey, (TEXTURE_SIDE, TEXTURE_SIDE), method="area")
    return {**values, contract.IMAGE: small[:, :, 0]}


_TEXT: Final = tf.io.FixedLenFeature([], tf.string, contract.UNKNOWN)
_FEATURES: Final = {
    contract.IMAGE: tf.io.FixedLenFeature([], tf.string),
    contract.LABEL: tf.io.FixedLenFeature([], tf.int64),
    contract.LABEL_TEXT: tf.io.FixedLenFeature([], tf.string),
    contract.PATH: tf.io.FixedLenFeature([], tf.string),
    contract.SHA256: tf.io.FixedLenFeature([], tf.string),
    **{
        name: tf.io.FixedLenFeature([], tf.int64)
        for name in (contract.WIDTH, contract.HEIGHT, contract.BYTES)
    },
    **{
        name: tf.io.FixedLenFeature([], tf.float32)
        for name in (contract.MEAN, contract.STD, contract.ENTROPY)
    },
    **{name: _TEXT for name in contract.METADATA_TEXT_COLUMNS.values()},
    **{
        name: tf.io.FixedLenFeature([], tf.float32, math.nan)
        for name in contract.METADATA_NUMBER_COLUMNS.values()
    },
}


def _radiograph(split: str, values: Mapping[str, Any]) -> Radiograph:
    small = values[contract.IMAGE]
    halved = small.reshape(THUMBNAIL_SIDE, 2, THUMBNAIL_SIDE, 2).mean((1, 3))
    return Radiograph(
        split=split,
        path=values[contract.PATH].decode(),
        sha256=values[contract.SHA256].decode(),
        label=int(values[contract.LABEL]),
        class_name=values[contract.LABEL_TEXT].decode(),
        patient=values[contract.PATIENT].decode(),
        text={
            column: values[name].decode()
            for column, name in contract.METADATA_TEXT_COLUMNS.items()
            if name != contract.PATIENT
        },
        numbers={
            column: float(values[name]) for column, name in contract.METADATA_NUMBER_COLUMNS.items()
        },
        statistics=np.array([values[name] for name in STATISTICS], np.float64),
        thumbnail=halved,
        texture=texture(small),
    )
