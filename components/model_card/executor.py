"""Reads what other nodes wrote of a model, and writes its card."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from models.rendering import note_text
from schema import contract

RUN: Final = "model_run"
EVALUATION: Final = "evaluation"
BLESSING: Final = "blessing"
MANIFEST: Final = "manifest"
PRETRAINED: Final = "pretrained"
INFRA_BLESSING: Final = "infra_blessing"
MODEL_CARD: Final = "model_card"
_RENDERING_NOTE: Final = os.path.basename(contract.RENDERING_NOTE_FILE)

Artifacts = dict[str, list[types.Artifact]]


class Executor(base_executor.BaseExecutor):
    """The executor that writes the card of one model."""

    def Do(
        self,
        input_dict: Artifacts,
        output_dict: Artifacts,
        exec_properties: dict[str, Any],
    ) -> None:
        """Gather the facts, and write the card, and the note on DICOM where there is one."""
        # TFMA and Jinja: code that only builds the DAG doesn't wait for them.
        from components.model_card.content import Evidence, Origin, gather
        from components.model_card.rendering import to_json, to_markdown
        from components.radiograph_example_gen.manifest import read_summary

        run = artifact_utils.get_single_uri(input_dict[RUN])
        blessing = artifact_utils.get_single_instance(input_dict[BLESSING])
        card = gather(
            Origin(
                name=exec_properties["name"],
                classes=json.loads(exec_properties["classes"]),
                seed=exec_properties["seed"],
                preset=exec_properties["preset"],
                versions=json.loads(exec_properties["versions"]),
            ),
            Evidence(
                weights=_property(input_dict, PRETRAINED, "weights"),
                weights_sha256=_property(input_dict, PRETRAINED, "weights_sha256"),
                image_size=_property(input_dict, PRETRAINED, "image_size"),
                training=_training(run),
                validation=_read_json(os.path.join(run, contract.VALIDATION_FILE)),
                manifest=read_summary(artifact_utils.get_single_uri(input_dict[MANIFEST])),
                evaluation_uri=artifact_utils.get_single_uri(input_dict[EVALUATION]),
                thresholds=json.loads(exec_properties["gate"]),
                blessed=model_utils.is_model_blessed(blessing),
                served=_served(input_dict),
            ),
        )
        folder = artifact_utils.get_single_uri(output_dict[MODEL_CARD])
        files = {
            contract.MODEL_CARD_FILE: to_markdown(card),
            contract.MODEL_CARD_DATA_FILE: to_json(card),
        }
        if card.data.rendering:
            files[_RENDERING_NOTE] = note_text(card.data.rendering)
        for name, text in files.items():
            io_utils.write_string_file(os.path.join(folder, name), text)


def _training(run: str) -> dict[str, Any] | None:
    """Return the recipe, and which model it started from, if any; a combination isn't trained."""
    recipe = os.path.join(run, contract.TRAINING_FILE)
    if not fileio.exists(recipe):
        return None
    note = os.path.join(run, contract.CONTINUED_FILE)
    found = _read_json(note) if fileio.exists(note) else {}
    if not found.get("continued"):
        return _read_json(recipe)
    # <execution>/Format-Serving: a path of this machine says nothing to a reader of the card.
    execution = os.path.basename(os.path.dirname(found["model"]))
    said = f"an earlier model (execution {execution}), so it has learnt from that one's images, too"
    return _read_json(recipe) | {"continued_from": said}


def _served(inputs: Artifacts) -> bool | None:
    """Return whether the model could be served; None where that wasn't tried."""
    if not inputs.get(INFRA_BLESSING):
        return None
    artifact = artifact_utils.get_single_instance(inputs[INFRA_BLESSING])
    return bool(model_utils.is_infra_validated(artifact))


def _property(inputs: Artifacts, key: str, name: str) -> str | None:
    if not inputs.get(key):
        return None
    artifact = artifact_utils.get_single_instance(inputs[key])
    return artifact.get_string_custom_property(name) or None


def _read_json(path: str) -> dict[str, Any]:
    with fileio.open(path) as file:
        content: dict[str, Any] = json.load(file)
    return content
