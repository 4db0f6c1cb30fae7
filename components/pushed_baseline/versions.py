"""What was pushed, and what each version was trained with, as ServingPusher keeps it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from absl import logging
from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from components.baseline_resolver.comparison import (
    NotComparableError,
    TrainingData,
    check_comparable,
    digest_of,
    training_data_from,
)
from components.saved_models import versions_in
from components.seen_images import read_seen, union
from schema import contract

# Custom property of a copied model: the version's folder name.
VERSION: Final = "version"


@dataclass(frozen=True)
class Kept:
    """What is known of a version.

    Attributes:
        folder: of the version in the history, perhaps in an object store.
        data: what it was trained with; what it goes on from has been seen, too.
        digest: which images were in which split (see `Summary.digest`).
    """

    folder: str
    data: TrainingData
    digest: str


def copy_latest(
    model: types.Artifact,
    serving: str,
    history: str,
    manifest: str,
    passed_over: str,
    fits: Callable[[Kept], bool] = lambda kept: True,
) -> Kept | None:
    """Copies the latest version that can be compared on a run's test split.

    Args:
        model: gets the copy, and the property VERSION; stays empty where none will do.
        serving: folder of one model's versions.
        history: folder in which ServingPusher keeps what each version was made with.
        manifest: URI of the run's SplitManifest.
        passed_over: a log line with places for version, serving folder and reason.
        fits: what else is asked of a version; it may raise NotComparableError to say why not.

    Returns:
        What is known of the version; None where there is none.

    Raises:
        NotComparableError: the run's own manifest can't be read.
    """
    wanted = training_data_from(manifest)
    for version in complete_versions(serving):
        try:
            kept = read_kept(os.path.join(history, version))
            if not fits(kept):
                continue
            check_comparable(wanted, kept.data)
        except NotComparableError as reason:
            logging.warning(passed_over, version, serving, reason)
            continue
        io_utils.copy_dir(os.path.join(serving, version), path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property(VERSION, version)
        return kept
    return None


def complete_versions(serving: str) -> Iterator[str]:
    """Versions that are no half copies, the latest first.

    Args:
        serving: folder of one model's versions, local or remote; it need not exist.
    """
    for version in versions_in(serving):
        if fileio.exists(os.path.join(serving, version, contract.SAVED_MODEL_FILE)):
            yield version


def read_kept(folder: str) -> Kept:
    """Reads what was kept of a version.

    Args:
        folder: of the version in the history, perhaps in an object store.

    Raises:
        NotComparableError: nobody kept it, or it can't be read.
    """
    if not fileio.exists(folder):
        raise NotComparableError("nobody kept what it was trained with")
    with tempfile.TemporaryDirectory() as scratch:
        io_utils.copy_dir(folder, scratch)
        data, digest = training_data_from(scratch), digest_of(scratch)
        try:
            earlier = read_seen(scratch)
        except ValueError as error:
            raise NotComparableError("what it goes on from can't be read") from error
    return Kept(folder, replace(data, seen=union([data.seen, earlier])), digest)
