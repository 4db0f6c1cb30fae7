"""The record of a pushed version, outside of what is served, since it names patients.

`PUSHED/<model>/<version>/`: `record.json` (MODEL and SPLIT, below, and `rollouts.ROLLOUTS`), the
split's manifest with what lies beside it, the recipe, the answers that it was calibrated by, the
statistics of the images, the heads that Inferrer asks in place of the SavedModel, and `seen.json`.
ServingPusher writes it; all that ask what was before read it, locally and on Kubeflow;
`cxr watch` reads it, too, and `cxr canary`, `promote` and `rollback` write into it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.pushed_versions.comparison import (
    NotComparableError,
    TrainingData,
    digest_of,
    training_data_from,
)
from components.pushed_versions.rollouts import RECORD_FILE as RECORD_FILE
from components.pushed_versions.seen_images import SEEN_FILE, read_seen, union
from components.saved_models import digest_of_model
from schema import contract

STATISTICS_FOLDER: Final = "statistics"
_HEADS_FOLDER: Final = "heads"
# Of the record.
MODEL: Final = "model"
SPLIT: Final = "split"


@dataclass(frozen=True)
class Kept:
    """The record of a version.

    Attributes:
        folder: of what is kept of the version, perhaps in an object store.
        model: digest of its SavedModel (see `digest_of_model`).
        split: digest of which images were in which split (see `Summary.digest`).
    """

    folder: str
    model: str
    split: str

    @property
    def version(self) -> str:
        """The name of the version's folder, a number."""
        return os.path.basename(self.folder)

    @property
    def recipe(self) -> str:
        """The file with the training's parameters; a combination has none."""
        return os.path.join(self.folder, contract.TRAINING_FILE)

    @property
    def statistics(self) -> str:
        """The folder with the statistics of the images; old versions have none."""
        return os.path.join(self.folder, STATISTICS_FOLDER)

    @property
    def heads(self) -> str:
        """The folder with `models.evaluation_model`'s; old versions have none."""
        return os.path.join(self.folder, _HEADS_FOLDER)


def keep(
    folder: str,
    *,
    saved_model: str,
    manifest: str,
    model_run: str | None,
    statistics: str | None,
    heads: str | None,
) -> None:
    """Write down what a version is.

    Args:
        folder: of the version, local or remote.
        saved_model: folder of the SavedModel that was pushed.
        manifest: URI of the SplitManifest.
        model_run: URI of what the training left beside the model; the champion has none.
        statistics: URI of StatisticsGen's result, where there is one.
        heads: folder of what answers from features, where there is one.
    """
    io_utils.copy_dir(manifest, folder)
    for name in (contract.TRAINING_FILE, SEEN_FILE, contract.PREDICTIONS_FILE):
        if model_run is not None and fileio.exists(os.path.join(model_run, name)):
            fileio.copy(os.path.join(model_run, name), os.path.join(folder, name), overwrite=True)
    if statistics is not None:
        io_utils.copy_dir(statistics, os.path.join(folder, STATISTICS_FOLDER))
    if heads is not None:
        io_utils.copy_dir(heads, os.path.join(folder, _HEADS_FOLDER))
    value = {MODEL: digest_of_model(saved_model), SPLIT: digest_of(manifest)}
    # Last: a version without it is half kept.
    with fileio.open(os.path.join(folder, RECORD_FILE), "w") as file:
        file.write(json.dumps(value))


def read_kept(folder: str) -> Kept:
    """Read the record of a version.

    Args:
        folder: of what is kept of the version, perhaps in an object store.

    Raises:
        NotComparableError: nobody kept it, or it can't be read.
    """
    path = os.path.join(folder, RECORD_FILE)
    if not fileio.exists(path):
        raise NotComparableError("nobody kept what it was trained with")
    with fileio.open(path, "r") as file:
        text = file.read()
    try:
        value = json.loads(text)
        return Kept(folder, str(value[MODEL]), str(value[SPLIT]))
    except (ValueError, KeyError, TypeError) as error:
        raise NotComparableError(f"{path} can't be read") from error


def training_data_of(kept: Kept) -> TrainingData:
    """Read what a version was trained with; what it goes on from has been seen, too.

    Raises:
        NotComparableError: it can't be read.
    """
    with _here(kept.folder) as folder:
        data = training_data_from(folder)
        try:
            earlier = read_seen(folder)
        except ValueError as error:
            raise NotComparableError("what it goes on from can't be read") from error
    return replace(data, seen=union([data.seen, earlier]))


@contextmanager
def _here(folder: str) -> Iterator[str]:
    """Copy it to this machine: what reads manifests knows not all object stores."""
    with tempfile.TemporaryDirectory() as scratch:
        io_utils.copy_dir(folder, scratch)
        yield scratch
