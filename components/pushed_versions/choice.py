"""The choice of the pushed version that a run goes by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

from absl import logging
from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from components.pushed_versions.comparison import (
    NotComparableError,
    check_comparable,
    training_data_from,
)
from components.pushed_versions.record import Kept, read_kept, training_data_of
from components.saved_models import versions_in
from schema import contract

# Custom property of a copied artifact: the version that it comes from.
VERSION: Final = "version"


def latest_comparable(
    serving: str, pushed: str, manifest: str, passed_over: str, fits: Callable[[Kept], bool]
) -> Kept | None:
    """Find the latest version that can be compared on a run's test split.

    Args:
        serving: folder of one model's versions.
        pushed: folder with what is kept of each of them.
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
            kept = read_kept(os.path.join(pushed, version))
            if not fits(kept):
                continue
            check_comparable(wanted, training_data_of(kept))
        except NotComparableError as reason:
            logging.warning(passed_over, version, serving, reason)
        else:
            return kept
    return None


def complete_versions(serving: str) -> Iterator[str]:
    """Find the versions that are no half copies, the latest first.

    Args:
        serving: folder of one model's versions, local or remote; it need not exist.
    """
    for version in versions_in(serving):
        if fileio.exists(os.path.join(serving, version, contract.SAVED_MODEL_FILE)):
            yield version


def copy_version(kept: Kept, serving: str, model: types.Artifact) -> None:
    """Copy a version out of the serving folder.

    Args:
        kept: the version.
        serving: folder of one model's versions.
        model: gets the copy, and the property VERSION.
    """
    source = os.path.join(serving, kept.version)
    io_utils.copy_dir(source, path_utils.serving_model_dir(model.uri))
    model.set_string_custom_property(VERSION, kept.version)
