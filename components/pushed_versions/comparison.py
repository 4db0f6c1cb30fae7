"""The comparability of two models on the test split of one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

from components.pushed_versions.seen_images import Images
from components.radiograph_example_gen.manifest import Entry, read_manifest, read_summary
from schema import contract

# Gone, cut short, or written by another version of this program.
_UNREADABLE: Final = (tf.errors.OpError, KeyError, TypeError, ValueError)


class NotComparableError(Exception):
    """Says why, as a clause that ends a sentence."""


@dataclass(frozen=True)
class TrainingData:
    """The images and classes that a model was made with.

    Attributes:
        classes: names in label order.
        seen: trained on, or used to choose among the epochs.
        held_out: the test split.
    """

    classes: tuple[str, ...]
    seen: Images
    held_out: Images


def digest_of(uri: str) -> str:
    """Return the digest of which images are in which split (see `Summary.digest`).

    Args:
        uri: of the SplitManifest artifact.

    Raises:
        NotComparableError: it can't be read.
    """
    try:
        return str(read_summary(uri)["digest"])
    except _UNREADABLE as error:
        raise NotComparableError(f"its split manifest in {uri} can't be read") from error


def training_data_from(uri: str) -> TrainingData:
    """Read a split manifest.

    Args:
        uri: of the SplitManifest artifact.

    Raises:
        NotComparableError: it can't be read.
    """
    try:
        entries = read_manifest(uri)
        classes = tuple(str(name) for name in read_summary(uri)["classes"])
    except _UNREADABLE as error:
        raise NotComparableError(f"its split manifest in {uri} can't be read") from error
    return TrainingData(
        classes,
        seen=_images(e for e in entries if e.split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)),
        held_out=_images(e for e in entries if e.split == contract.SPLIT_TEST),
    )


def _images(entries: Iterable[Entry]) -> Images:
    chosen = list(entries)
    return Images(
        frozenset(entry.sha256 for entry in chosen),
        frozenset(entry.patient for entry in chosen if entry.patient),
    )


def check_comparable(candidate: TrainingData, other: TrainingData) -> None:
    """Check that both answer the same question and `other` doesn't know the answers.

    Args:
        candidate: its test split is what both would be tested on.
        other: the would-be baseline.

    Raises:
        NotComparableError: other classes, or it has seen some of the test split.
    """
    if other.classes != candidate.classes:
        raise NotComparableError(f"its classes are {', '.join(other.classes)}, in this order")
    images = len(candidate.held_out.hashes & other.seen.hashes)
    if images:
        raise NotComparableError(
            f"it was trained with {images} of the {len(candidate.held_out.hashes)} test images"
        )
    # The same person on another image is no independent test either.
    patients = len(candidate.held_out.patients & other.seen.patients)
    if patients:
        raise NotComparableError(
            f"it was trained with images of {patients} of the "
            f"{len(candidate.held_out.patients)} test patients"
        )
