"""Copies the latest version that a training may go on from out of the serving folder."""

from __future__ import annotations

import os
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.baseline_resolver.comparison import NotComparableError, digest_of
from components.pushed_baseline.executor import HISTORY, MANIFEST, MODEL, SERVING
from components.pushed_baseline.versions import Kept, copy_latest
from components.seen_images import write_seen
from schema import contract

RUN: Final = "model_run"

__all__ = ["HISTORY", "MANIFEST", "MODEL", "RUN", "SERVING", "Executor"]


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
        own = digest_of(manifest)

        def fits(kept: Kept) -> bool:
            # A model that went on from itself would be trained anew for ever.
            if kept.digest == own:
                return False
            if not fileio.exists(_recipe(kept.folder)):
                raise NotComparableError("nobody kept its recipe")
            return True

        serving, history = exec_properties[SERVING], exec_properties[HISTORY]
        passed_over = "Training doesn't start from version %s in %s, because %s."
        found = copy_latest(model, serving, history, manifest, passed_over, fits)
        if found is None:
            logging.info("Training can start from no version in %s.", serving)
            return
        fileio.makedirs(run)
        fileio.copy(_recipe(found.folder), _recipe(run), overwrite=True)
        write_seen(run, found.data.seen)


def _recipe(folder: str) -> str:
    return os.path.join(folder, contract.TRAINING_FILE)
