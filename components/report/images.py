"""The facts that the examples hold of each image, and the images themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import tensorflow as tf

from components.examples import read_examples
from schema import contract

# What the statistics of an image are called on the page.
NUMBERS = {
    "width": contract.WIDTH,
    "height": contract.HEIGHT,
    "bytes": contract.BYTES,
    "mean": contract.MEAN,
    "std": contract.STD,
    "entropy": contract.ENTROPY,
}
# Columns of metadata.csv that are always there; a patient's id tells no groups apart.
COLUMNS = {
    column: feature
    for column, feature in contract.METADATA_TEXT_COLUMNS.items()
    if feature != contract.PATIENT
}


@dataclass(frozen=True)
class ImageFacts:
    """The facts that are known of an image besides its pixels.

    Attributes:
        sha256: hex digest of the file.
        path: relative to the data folder.
        split: train, eval or test.
        label: index of the class.
        numbers: name in NUMBERS -> value.
        columns: name in COLUMNS, or of a further column -> value, "unknown" where there is none.
    """

    sha256: str
    path: str
    split: str
    label: int
    numbers: dict[str, float]
    columns: dict[str, str]


def read_facts(examples_uri: str) -> list[ImageFacts]:
    """Read what is known of all images of all splits.

    Args:
        examples_uri: of RadiographExampleGen's `examples`.

    Returns:
        Sorted by path. The pixels pass by one record at a time.
    """
    found = [
        _facts(example, split)
        for split in contract.SPLITS
        for example in read_examples(f"{examples_uri}/Split-{split}")
    ]
    return sorted(found, key=lambda facts: (facts.path, facts.sha256))


def read_files(examples_uri: str, split: str, wanted: Collection[str]) -> dict[str, bytes]:
    """Read the image files of some images.

    Args:
        examples_uri: of RadiographExampleGen's `examples`.
        split: that they are in.
        wanted: hex digests.

    Returns:
        Digest -> file, of those that are there.
    """
    files: dict[str, bytes] = {}
    if not wanted:
        return files
    for example in read_examples(f"{examples_uri}/Split-{split}"):
        digest = _text(example, contract.SHA256)
        if digest in wanted:
            files[digest] = example.features.feature[contract.IMAGE].bytes_list.value[0]
    return files


def _facts(example: tf.train.Example, split: str) -> ImageFacts:
    return ImageFacts(
        sha256=_text(example, contract.SHA256),
        path=_text(example, contract.PATH),
        split=split,
        label=int(example.features.feature[contract.LABEL].int64_list.value[0]),
        numbers={name: _number(example, feature) for name, feature in NUMBERS.items()},
        columns={name: _text(example, feature) for name, feature in _columns(example).items()},
    )


def _columns(example: tf.train.Example) -> dict[str, str]:
    """Name each column's feature; further columns, by name, come behind those always there."""
    further = sorted(
        name for name in example.features.feature if name.startswith(contract.COLUMN_PREFIX)
    )
    return COLUMNS | {name.removeprefix(contract.COLUMN_PREFIX): name for name in further}


def _text(example: tf.train.Example, feature: str) -> str:
    values = example.features.feature[feature].bytes_list.value
    return values[0].decode("utf-8") if values else contract.UNKNOWN


def _number(example: tf.train.Example, feature: str) -> float:
    found = example.features.feature[feature]
    (value,) = found.float_list.value or found.int64_list.value
    return float(value)
