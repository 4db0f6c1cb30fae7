"""Cached features as tf.Example records: writing in Featurizer, reading in Trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import tensorflow as tf

from models.augmentation_names import IDENTITY
from models.boundary import FeatureSpec
from schema import contract
from schema.inputs import Input

# Up to this, the records stay in memory, serialized, and are read once for all epochs;
# beyond it each epoch reads the files, and shuffling draws from a window of this size.
_MEMORY_BYTES = 2 << 30
# Nothing below is Python that TensorFlow would have to translate. To look for it takes longer than
# to read a few hundred records.
_plain: Final = tf.autograph.experimental.do_not_convert


def serialize(
    features: Mapping[str, np.ndarray | bytes],
    *,
    augmentation: str,
    label: int,
    class_name: bytes,
    sha256: bytes,
    group: bytes,
) -> bytes:
    """Packs the features of one augmentation of one image.

    Args:
        features: name -> array, stored as little-endian raw bytes, or these bytes.
        augmentation: name of the augmentation.
        label: class index.
        class_name: of the label.
        sha256: of the image file.
        group: what the image shares with all that must stay with it (`contract.GROUP`).
    """

    def raw(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    record = {
        contract.FEATURE_PREFIX + name: raw(
            array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes()
        )
        for name, array in features.items()
    }
    record[contract.AUGMENTATION_NAME] = raw(augmentation.encode())
    record[contract.LABEL_TEXT] = raw(class_name)
    record[contract.SHA256] = raw(sha256)
    record[contract.GROUP] = raw(group)
    record[contract.LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=record))
    return example.SerializeToString(deterministic=True)


def specs_of(inputs: Iterable[Input]) -> dict[str, FeatureSpec]:
    """Say as what records hold the inputs that go straight to a head."""
    straight = (each.transformed for each in inputs)
    return {one.name: FeatureSpec(one.shape, one.dtype) for one in straight}


def _files(patterns: Sequence[str]) -> list[str]:
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no feature records at {', '.join(patterns)}")
    return files


def _parse(
    record: tf.Tensor, specs: Mapping[str, FeatureSpec]
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    fields: dict[str, tf.io.FixedLenFeature] = {
        contract.FEATURE_PREFIX + name: tf.io.FixedLenFeature([], tf.string) for name in specs
    }
    fields[contract.LABEL] = tf.io.FixedLenFeature([], tf.int64)
    fields[contract.AUGMENTATION_NAME] = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_single_example(record, fields)
    features = {
        name: tf.reshape(
            tf.io.decode_raw(parsed[contract.FEATURE_PREFIX + name], tf.as_dtype(spec.dtype)),
            spec.shape,
        )
        for name, spec in specs.items()
    }
    return features, parsed[contract.LABEL], parsed[contract.AUGMENTATION_NAME]


def read(
    patterns: Sequence[str],
    specs: Mapping[str, FeatureSpec],
    *,
    batch_size: int,
    augmentations: Sequence[str] | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Read cached features in the order of the files.

    Args:
        patterns: file patterns of TFRecords without compression.
        specs: what to read.
        batch_size: records a batch.
        augmentations: only these; all where None.
        shuffle_seed: shuffles anew at each epoch, the same at each run; None leaves the
            files' order.

    Raises:
        FileNotFoundError: a pattern list matches nothing.

    Returns:
        A dataset of ({name: tensor [batch, *shape] of the spec's dtype}, labels int64
        [batch]).
    """
    files = _files(patterns)
    records = tf.data.TFRecordDataset(files)
    if augmentations is not None:
        wanted = tf.constant(list(augmentations))
        records = records.filter(
            _plain(lambda record: tf.reduce_any(_parse(record, {})[2] == wanted))
        )
    stored = sum(tf.io.gfile.stat(file).length for file in files)
    if stored <= _MEMORY_BYTES:
        records = records.cache()
    if shuffle_seed is not None:
        size = sum(int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in specs.values())
        # No record is smaller than its tensors, so a window never has more places than
        # there are records: TensorFlow sets up each place, at every epoch.
        window = max(1, min(_MEMORY_BYTES, stored) // size)
        records = records.shuffle(window, seed=shuffle_seed, reshuffle_each_iteration=True)
    parse = _plain(lambda record: _parse(record, specs)[:2])
    parsed = records.map(parse, num_parallel_calls=2)
    return parsed.batch(batch_size).prefetch(2)


def names(patterns: Sequence[str]) -> set[str]:
    """Names of the features that records hold; all hold the same. None where there is no record.

    Args:
        patterns: file patterns of TFRecords without compression.

    Raises:
        FileNotFoundError: a pattern list matches nothing.
    """
    for record in tf.data.TFRecordDataset(_files(patterns)).take(1).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        prefix = contract.FEATURE_PREFIX
        return {name.removeprefix(prefix) for name in fields if name.startswith(prefix)}
    return set()


def read_images(
    patterns: Sequence[str], specs: Mapping[str, FeatureSpec], *, batch_size: int
) -> tf.data.Dataset:
    """Read the images as they are, in the order of the files, each with its digest.

    Args:
        patterns: file patterns of TFRecords without compression.
        specs: what to read.
        batch_size: images a batch.

    Raises:
        FileNotFoundError: a pattern list matches nothing.

    Returns:
        A dataset of (SHA-256 string [batch], {name: tensor [batch, *shape]}).
    """

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        digest = tf.io.parse_single_example(
            record, {contract.SHA256: tf.io.FixedLenFeature([], tf.string)}
        )[contract.SHA256]
        features, _, augmentation = _parse(record, specs)
        return digest, features, augmentation

    images = tf.data.TFRecordDataset(_files(patterns)).map(_plain(parse))
    as_they_are = images.filter(_plain(lambda _, features, augmentation: augmentation == IDENTITY))
    pairs = as_they_are.map(_plain(lambda digest, features, augmentation: (digest, features)))
    return pairs.batch(batch_size).prefetch(1)


class ImageKey(NamedTuple):
    """The key of a record: all that it says besides its features.

    Attributes:
        sha256: hex digest of the image file.
        group: see `contract.GROUP`.
        augmentation: name of the augmentation.
        label: class index.
    """

    sha256: str
    group: str
    augmentation: str
    label: int


def read_keys(patterns: Sequence[str], augmentations: Sequence[str]) -> list[ImageKey]:
    """Say whose features there are, in the order in which `read` gives them without shuffling.

    Args:
        patterns: file patterns of TFRecords without compression.
        augmentations: only these.

    Raises:
        FileNotFoundError: a pattern list matches nothing.
    """
    keys = []
    for record in tf.data.TFRecordDataset(_files(patterns)).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        sha256, group, augmentation = (
            fields[name].bytes_list.value[0].decode()
            for name in (contract.SHA256, contract.GROUP, contract.AUGMENTATION_NAME)
        )
        if augmentation in augmentations:
            keys.append(
                ImageKey(sha256, group, augmentation, fields[contract.LABEL].int64_list.value[0])
            )
    return keys


def read_gate_facts(patterns: Sequence[str]) -> dict[str, np.ndarray]:
    """Read what the input gate knows of the images' pixels, `contract.GATE_FACTS`.

    Args:
        patterns: file patterns of TFRecords without compression.

    Returns:
        SHA-256 of the image -> float32 [facts]; only images whose records hold them.

    Raises:
        FileNotFoundError: a pattern list matches nothing.
    """
    found = {}
    for record in tf.data.TFRecordDataset(_files(patterns)).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        name = contract.FEATURE_PREFIX + contract.GATE_FACTS
        if name in fields:
            digest = fields[contract.SHA256].bytes_list.value[0].decode()
            found[digest] = np.frombuffer(fields[name].bytes_list.value[0], np.float32)
    return found


def read_hashes(patterns: Sequence[str], augmentations: Sequence[str]) -> tuple[str, ...]:
    """Read the images' hashes; arguments and order are those of `read_keys`."""
    return tuple(key.sha256 for key in read_keys(patterns, augmentations))
