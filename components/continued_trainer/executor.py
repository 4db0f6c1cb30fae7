"""TFX's, and it says where the earlier model lies."""

from __future__ import annotations

from typing import Any, Final

from tfx import types
from tfx.components.trainer import executor, fn_args_utils
from tfx.types import artifact_utils
from tfx.utils import path_utils

from models.trainer import PREVIOUS

PREVIOUS_MODEL: Final = "previous_model"
PREVIOUS_RUN: Final = "previous_run"


class Executor(executor.GenericExecutor):
    """Hands the folders of the earlier model to `run_fn`, in `custom_config`."""

    def _GetFnArgs(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> fn_args_utils.FnArgs:
        arguments = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        if input_dict.get(PREVIOUS_MODEL) and input_dict.get(PREVIOUS_RUN):
            model = artifact_utils.get_single_instance(input_dict[PREVIOUS_MODEL])
            folder = path_utils.serving_model_path(
                model.uri, path_utils.is_old_model_artifact(model)
            )
            run = artifact_utils.get_single_uri(input_dict[PREVIOUS_RUN])
            arguments.custom_config[PREVIOUS] = {"model": folder, "run": run}
        return arguments
