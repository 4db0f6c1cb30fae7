"""Reads the members' validation answers, fits the rule, writes one SavedModel."""

from __future__ import annotations

import json
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.many_inputs import input_key
from components.pushed_versions.seen_images import read_seen, union, write_seen
from schema import contract

MODEL: Final = "model"
RUN: Final = "run"
TRANSFORM_GRAPH: Final = "transform_graph"


class Executor(base_executor.BaseExecutor):
    """Writes what Trainer writes, for a combination of what Trainers wrote."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fits and exports the combination.

        Raises:
            ValueError: fewer than two members, or their validation splits differ.
        """
        from models import evaluation_model
        from models.combination import fit_combination
        from models.combined_model import CombinedModel
        from models.evaluation_model import HeadsOfCombination
        from models.model_run import write_json
        from models.predictions import read_predictions, write_predictions
        from models.signatures import export, load_transform

        prefix = input_key(MODEL, "")
        names = sorted(key.removeprefix(prefix) for key in input_dict if key.startswith(prefix))

        def uri(kind: str, name: str) -> str:
            return artifact_utils.get_single_uri(input_dict[input_key(kind, name)])

        classes = json.loads(exec_properties["classes"])
        combination = fit_combination(
            exec_properties["kind"],
            {name: read_predictions(uri(RUN, name)) for name in names},
            n_classes=len(classes),
            abstain_accuracy=exec_properties["abstain_accuracy"],
        )
        logging.info("Combination: %s", combination.rule)
        run_dir = artifact_utils.get_single_uri(output_dict["model_run"])
        write_json(run_dir, contract.VALIDATION_FILE, combination.validation)
        write_predictions(run_dir, combination.predictions)
        write_seen(run_dir, union(read_seen(uri(RUN, name)) for name in names))
        graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
        model = CombinedModel(
            load_transform(graph),
            combination.rule,
            {name: path_utils.serving_model_path(uri(MODEL, name)) for name in names},
            classes,
            combination.validation["abstain"]["threshold"],
        )
        artifact = artifact_utils.get_single_instance(output_dict["model"])
        export(model, path_utils.serving_model_dir(artifact.uri))
        heads = HeadsOfCombination(
            combination.rule,
            {name: path_utils.eval_model_dir(uri(MODEL, name)) for name in names},
        )
        evaluation_model.write(heads, path_utils.eval_model_dir(artifact.uri))
