"""Loads or draws a backbone's weights and saves them for Featurizer and Trainer."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils


class Executor(base_executor.BaseExecutor):
    """The writer of weights and `backbone.json` where Trainer's `base_model` expects a model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Build the network, so that weights that don't fit fail here and not later.

        Raises:
            InputError: the file is gone, changed since the DAG was built, or doesn't fit.
        """
        from models.pretrained import save_pretrained
        from models.stored_backbone import read_image_size
        from models.traced_network import keep

        model = artifact_utils.get_single_instance(output_dict["model"])
        folder = path_utils.serving_model_dir(model.uri)
        network = save_pretrained(
            exec_properties["backbone"],
            folder,
            seed=exec_properties["seed"],
            path=exec_properties.get("weights_path"),
            sha256=exec_properties["weights_sha256"],
            label=exec_properties["weights_label"],
        )
        if taps := json.loads(exec_properties["traced_taps"]):
            backbone, scaling = exec_properties["backbone"], exec_properties.get("scaling")
            keep(backbone, scaling, taps, folder, network)
        model.set_string_custom_property("weights", exec_properties["weights_label"])
        if exec_properties["weights_sha256"]:
            model.set_string_custom_property("weights_sha256", exec_properties["weights_sha256"])
        model.set_string_custom_property("backbone", exec_properties["backbone"])
        # As text: from one step to the next, Kubeflow makes each number a float.
        model.set_string_custom_property("image_size", str(read_image_size(folder)))
