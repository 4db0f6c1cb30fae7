"""Whether two models can be compared on the test split of one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import ml_metadata as mlmd
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx import types

from components.baseline_resolver.lineage import upstream_artifacts
from components.continued_trainer.executor import PREVIOUS_MODEL, PREVIOUS_RUN
from components.radiograph_example_gen.artifact import SplitManifest
from components.radiograph_example_gen.manifest import Entry, read_manifest, read_summary
from components.saved_models import has_saved_model
from components.seen_images import Images, union
from schema import contract

# Gone, cut short, or written by another version of this program.
_UNREADABLE: Final = (tf.errors.OpError, KeyError, TypeError, ValueError)
_CONTINUED_FROM: Final = frozenset({PREVIOUS_MODEL, PREVIOUS_RUN})


class NotComparableError(Exception):
    """Says why, as a clause that ends a sentence."""


@dataclass(frozen=True)
class TrainingData:
    """What a model was made with.

    Attributes:
        classes: names in label order.
        seen: trained on, or used to choose among the epochs.
        held_out: the test split.
    """

    classes: tuple[str, ...]
    seen: Images
    held_out: Images


def training_data(store: mlmd.MetadataStore, model: types.Artifact) -> TrainingData:
    """Finds the split behind a model, by its lineage.

    What a model was continued from is part of what it has seen.

    Args:
        store: with the events of all runs.
        model: any model of this pipeline.

    Raises:
        NotComparableError: no manifest, several, or one that can't be read.
    """
    own = training_data_from(own_manifest(store, model).uri)
    manifests = upstream_artifacts(store, model.id, SplitManifest.TYPE_NAME)
    return replace(own, seen=union(training_data_from(each.uri).seen for each in manifests))


def own_manifest(store: mlmd.MetadataStore, model: types.Artifact) -> metadata_store_pb2.Artifact:
    """The split that a model was trained on itself, whatever it was continued from.

    Raises:
        NotComparableError: no manifest, or several.
    """
    manifests = upstream_artifacts(store, model.id, SplitManifest.TYPE_NAME, _CONTINUED_FROM)
    if len(manifests) != 1:
        count = len(manifests) or "no"
        raise NotComparableError(f"its lineage leads to {count} split manifests instead of one")
    return manifests[0]


def digest_of(uri: str) -> str:
    """Says which images are in which split (see `Summary.digest`).

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
    """Reads a split manifest.

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
    """Checks that both answer the same question and `other` doesn't know the answers.

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


def check_exists(model: types.Artifact) -> None:
    """Checks that the model's files are still there.

    Args:
        model: as the metadata store knows it.

    Raises:
        NotComparableError: they are not.
    """
    if not has_saved_model(model):
        raise NotComparableError("its files are gone")
