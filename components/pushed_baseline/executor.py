"""Copies the latest comparable version out of the serving folder."""

from __future__ import annotations

import os
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.baseline_resolver.comparison import (
    NotComparableError,
    check_comparable,
    training_data_from,
)
from components.pushed_baseline.versions import complete_versions, read_kept

MANIFEST: Final = "manifest"
SERVING: Final = "serving"
HISTORY: Final = "history"
MODEL: Final = "model"
# Custom property: the version's folder name.
VERSION: Final = "version"


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
        wanted = training_data_from(artifact_utils.get_single_uri(input_dict[MANIFEST]))
        serving, history = exec_properties[SERVING], exec_properties[HISTORY]
        for version in complete_versions(serving):
            try:
                check_comparable(wanted, read_kept(os.path.join(history, version)).data)
            except NotComparableError as reason:
                logging.warning("Version %s in %s is no baseline: %s.", version, serving, reason)
                continue
            io_utils.copy_dir(
                os.path.join(serving, version), path_utils.serving_model_dir(model.uri)
            )
            model.set_string_custom_property(VERSION, version)
            return
        logging.info("No version in %s can be the baseline.", serving)
