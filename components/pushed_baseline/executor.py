"""Copies the latest comparable version out of the serving folder."""

from __future__ import annotations

from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.pushed_baseline.versions import copy_latest

MANIFEST: Final = "manifest"
SERVING: Final = "serving"
HISTORY: Final = "history"
MODEL: Final = "model"


class Executor(base_executor.BaseExecutor):
    """Writes a model, or nothing where no version can be compared."""

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
        manifest = artifact_utils.get_single_uri(input_dict[MANIFEST])
        serving, history = exec_properties[SERVING], exec_properties[HISTORY]
        passed_over = "Version %s in %s is no baseline: %s."
        if copy_latest(model, serving, history, manifest, passed_over) is None:
            logging.info("No version in %s can be the baseline.", serving)
