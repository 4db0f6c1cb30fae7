"""Loads or draws a backbone's weights and saves them for Featurizer and Trainer."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from schema import contract
from schema.errors import InputError


class Executor(base_executor.BaseExecutor):
    """Writes `backbone.weights.h5` where Trainer's `base_model` expects a model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Builds the network, so that weights that don't fit fail here and not later.

        Raises:
            InputError: the file is gone, changed since the DAG was built, or doesn't fit.
        """
        import keras

        from models.backbones import build_network, get_backbone, load_weights

        keras.utils.set_random_seed(exec_properties["seed"])
        network = build_network(get_backbone(exec_properties["backbone"]))
        model = artifact_utils.get_single_instance(output_dict["model"])
        path = exec_properties.get("weights_path")
        if path:
            with tempfile.TemporaryDirectory() as folder:
                local = _fetch(path, folder, exec_properties["weights_sha256"])
                load_weights(network, str(local), shown_as=path)
        self._save(network, path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property("weights", exec_properties["weights_label"])
        model.set_string_custom_property("backbone", exec_properties["backbone"])

    def _save(self, network: Any, directory: str) -> None:
        tf.io.gfile.makedirs(directory)
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, contract.BACKBONE_WEIGHTS_FILE)
            network.save_weights(local)
            target = os.path.join(directory, contract.BACKBONE_WEIGHTS_FILE)
            tf.io.gfile.copy(local, target, overwrite=True)


def _fetch(path: str, folder: str, sha256: str) -> Path:
    """Copies the file here (HDF5 needs a local one) and checks that it is the one meant."""
    local = Path(folder) / os.path.basename(path)
    try:
        tf.io.gfile.copy(path, str(local))
    except tf.errors.OpError as error:
        raise InputError(f"weights: {path} can't be read: {error.message}") from error
    found = hashlib.sha256(local.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(f"weights: {path} changed while the run started; start it again.")
    return local
