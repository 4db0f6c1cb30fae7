"""Tries int8 on a blessed model, or notes the precision that was asked for."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.examples import read_examples
from components.serving_precision.note import note_text
from schema import contract

MODEL: Final = "model"
BLESSING: Final = "blessing"
EXAMPLES: Final = "transformed_examples"
FILES: Final = "files"
INT8: Final = "int8"
CHOSEN_PROPERTY: Final = "chosen"
_NOTE: Final = os.path.basename(contract.SERVING_NOTE_FILE)


class Executor(base_executor.BaseExecutor):
    """Writes what is pushed beside the model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Choose; nothing is written for a model that isn't blessed."""
        files = artifact_utils.get_single_instance(output_dict[FILES])
        # A folder with nothing in it is an artifact, too.
        tf.io.gfile.makedirs(files.uri)
        blessing = artifact_utils.get_single_instance(input_dict[BLESSING])
        if not model_utils.is_model_blessed(blessing):
            return
        precision = exec_properties["precision"]
        if precision == INT8:
            model = artifact_utils.get_single_instance(input_dict[MODEL])
            examples = artifact_utils.get_single_instance(input_dict[EXAMPLES])
            if not _try_int8(model, examples, files.uri):
                return
        io_utils.write_string_file(os.path.join(files.uri, _NOTE), note_text(precision))
        files.set_string_custom_property(CHOSEN_PROPERTY, precision)


def _try_int8(model: types.Artifact, examples: types.Artifact, target: str) -> bool:
    """Put what `choose_int8` writes into a folder, local or remote; return what it chose."""
    from serving.networks.cache_folder import default_folder
    from serving.networks.int8_push import choose_int8
    from serving.networks.store import Store

    cache = default_folder()
    with tempfile.TemporaryDirectory() as folder:
        saved_model, made = Path(folder) / "model", Path(folder) / "made"
        io_utils.copy_dir(path_utils.serving_model_path(model.uri), str(saved_model))
        made.mkdir()
        choice = choose_int8(
            saved_model,
            _images(examples, contract.SPLIT_TRAIN),
            _images(examples, contract.SPLIT_EVAL),
            made,
            None if cache is None else Store(cache),
        )
        for file in sorted(made.iterdir()):
            io_utils.copy_file(str(file), os.path.join(target, file.name), overwrite=True)
    return choice.chosen


def _images(examples: types.Artifact, split: str) -> list[np.ndarray]:
    if split not in artifact_utils.decode_split_names(examples.split_names):
        return []
    return read_images(artifact_utils.get_split_uri([examples], split))


def read_images(folder: str) -> list[np.ndarray]:
    """Read a split's images as the networks get them, uint8 [256, 256, 1].

    Args:
        folder: of the split of Transform's examples, local or remote.

    Returns:
        In the order of their digests; Transform's own is another where Beam has several workers.
    """
    found = {}
    for example in read_examples(folder):
        features = example.features.feature
        png = features[contract.TRANSFORMED_IMAGE].bytes_list.value[0]
        found[features[contract.SHA256].bytes_list.value[0]] = tf.io.decode_png(png).numpy()
    return [found[digest] for digest in sorted(found)]
