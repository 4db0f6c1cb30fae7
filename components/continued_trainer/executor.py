"""TFX's, and it says where the earlier model lies, and hands on what that one has seen."""

from __future__ import annotations

from typing import Any, Final

from tfx import types
from tfx.components.trainer import executor, fn_args_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from components.pushed_versions.seen_images import read_seen, write_seen
from components.saved_models import given_model
from models.trainer import PREVIOUS

PREVIOUS_MODEL: Final = "previous_model"
PREVIOUS_RUN: Final = "previous_run"


class Executor(executor.GenericExecutor):
    """Hands the folders of the earlier model to `run_fn`, in `custom_config`.

    Where a node has to hand on an artifact, and found no model, that has no model in it.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        if input_dict.get(PREVIOUS_RUN):
            seen = read_seen(artifact_utils.get_single_uri(input_dict[PREVIOUS_RUN]))
            run = output_dict[standard_component_specs.MODEL_RUN_KEY]
            write_seen(artifact_utils.get_single_uri(run), seen)

    def _GetFnArgs(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> fn_args_utils.FnArgs:
        arguments = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        model = given_model(input_dict.get(PREVIOUS_MODEL))
        if model and input_dict.get(PREVIOUS_RUN):
            folder = path_utils.serving_model_path(
                model.uri, path_utils.is_old_model_artifact(model)
            )
            run = artifact_utils.get_single_uri(input_dict[PREVIOUS_RUN])
            arguments.custom_config[PREVIOUS] = {"model": folder, "run": run}
        return arguments
