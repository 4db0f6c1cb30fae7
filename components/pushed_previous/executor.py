"""Copies the latest version that a training may go on from out of the serving folder."""

from __future__ import annotations

import os
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.baseline_resolver.comparison import (
    NotComparableError,
    check_comparable,
    digest_of,
    training_data_from,
)
from components.pushed_baseline.executor import HISTORY, MANIFEST, MODEL, SERVING, VERSION
from components.pushed_baseline.versions import Kept, complete_versions, read_kept
from components.seen_images import write_seen
from schema import contract

RUN: Final = "model_run"

__all__ = ["HISTORY", "MANIFEST", "MODEL", "RUN", "SERVING", "VERSION", "Executor"]


class Executor(base_executor.BaseExecutor):
    """Writes a model and what was beside its training, or nothing where none will do."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Looks through the versions, the latest first.

        Raises:
            NotComparableError: this run's own manifest can't be read.
        """
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        run = artifact_utils.get_single_uri(output_dict[RUN])
        manifest = artifact_utils.get_single_uri(input_dict[MANIFEST])
        wanted, digest = training_data_from(manifest), digest_of(manifest)
        serving, history = exec_properties[SERVING], exec_properties[HISTORY]
        for version in complete_versions(serving):
            kept = os.path.join(history, version)
            try:
                found = read_kept(kept)
                # A model that went on from itself would be trained anew for ever.
                if found.digest == digest:
                    continue
                check_comparable(wanted, found.data)
                _hand_on(kept, found, run)
            except NotComparableError as reason:
                logging.warning(
                    "Training doesn't start from version %s in %s, because %s.",
                    version, serving, reason,
                )  # fmt: skip
                continue
            io_utils.copy_dir(
                os.path.join(serving, version), path_utils.serving_model_dir(model.uri)
            )
            model.set_string_custom_property(VERSION, version)
            return
        logging.info("Training can start from no version in %s.", serving)


def _hand_on(kept: str, found: Kept, run: str) -> None:
    """The recipe, and all that the model and those before it have seen."""
    recipe = os.path.join(kept, contract.TRAINING_FILE)
    if not fileio.exists(recipe):
        raise NotComparableError("nobody kept its recipe")
    fileio.makedirs(run)
    fileio.copy(recipe, os.path.join(run, contract.TRAINING_FILE), overwrite=True)
    write_seen(run, found.data.seen)
