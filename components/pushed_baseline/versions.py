"""What was pushed, and what each version was trained with, as ServingPusher keeps it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.baseline_resolver.comparison import (
    NotComparableError,
    TrainingData,
    digest_of,
    training_data_from,
)
from components.saved_models import versions_in
from components.seen_images import read_seen, union
from schema import contract


@dataclass(frozen=True)
class Kept:
    """What is known of a version.

    Attributes:
        data: what it was trained with; what it goes on from has been seen, too.
        digest: which images were in which split (see `Summary.digest`).
    """

    data: TrainingData
    digest: str


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
    return Kept(replace(data, seen=union([data.seen, earlier])), digest)
