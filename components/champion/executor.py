"""Compares the answers of the blessed candidates."""

from __future__ import annotations

import os
from typing import Any, Final

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.many_inputs import input_key
from components.model_card.beside import put_beside
from components.serving_precision.beside import put_precision_beside
from components.training_verdict import may_be_pushed
from models.choice import choose
from models.predictions import read_predictions

MODEL: Final = "model"
RUN: Final = "run"
BLESSING: Final = "blessing"
INFRA_BLESSING: Final = "infra"
CARD: Final = "card"
FILES: Final = "precision"
PREFER: Final = "prefer"
# The champion's name among the candidates (also an ensemble's), on the model artifact.
BACKBONE_PROPERTY: Final = "backbone"


class Executor(base_executor.BaseExecutor):
    """Copies the winner, or withholds the blessing where there is none."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Chooses, copies the SavedModel, and blesses it."""
        prefix = input_key(MODEL, "")
        names = sorted(key.removeprefix(prefix) for key in input_dict if key.startswith(prefix))
        answers = {
            name: read_predictions(artifact_utils.get_single_uri(input_dict[input_key(RUN, name)]))
            for name in names
            if _blessed(input_dict[input_key(BLESSING, name)])
            and _is_servable(input_dict.get(input_key(INFRA_BLESSING, name)))
            and may_be_pushed(input_dict[input_key(RUN, name)])
        }
        model = artifact_utils.get_single_instance(output_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        winner = choose(answers, exec_properties[PREFER])
        if winner is None:
            _write_verdict(blessing, constants.NOT_BLESSED_FILE_NAME, blessed=False)
            return
        source = artifact_utils.get_single_uri(input_dict[input_key(MODEL, winner)])
        io_utils.copy_dir(
            path_utils.serving_model_path(source), path_utils.serving_model_dir(model.uri)
        )
        put_precision_beside(
            input_dict.get(input_key(FILES, winner)),
            input_dict.get(input_key(INFRA_BLESSING, winner)),
            path_utils.serving_model_dir(model.uri),
        )
        put_beside(input_dict.get(input_key(CARD, winner)), path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property(BACKBONE_PROPERTY, winner)
        _write_verdict(blessing, constants.BLESSED_FILE_NAME, blessed=True)
        losses = {name: round(float(of.losses().mean()), 4) for name, of in answers.items()}
        logging.info("Champion: %s of %s", winner, losses)


def _blessed(artifacts: list[types.Artifact]) -> bool:
    artifact = artifact_utils.get_single_instance(artifacts)
    return tf.io.gfile.exists(os.path.join(artifact.uri, constants.BLESSED_FILE_NAME))


def _is_servable(artifacts: list[types.Artifact] | None) -> bool:
    """Say what the Pusher asks of an InfraBlessing; yes where nobody looked."""
    if artifacts is None:
        return True
    return bool(model_utils.is_infra_validated(artifact_utils.get_single_instance(artifacts)))


def _write_verdict(blessing: types.Artifact, file_name: str, *, blessed: bool) -> None:
    io_utils.write_string_file(os.path.join(blessing.uri, file_name), "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
