"""The fitting of one head on all backbones' features, and its export."""

from __future__ import annotations

import json
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.fused_trainer.backbones import feature_pattern, network_folders
from schema import contract

TRANSFORM_GRAPH: Final = "transform_graph"


class Executor(base_executor.BaseExecutor):
    """Writes what Trainer writes, for a head on several networks."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fit and export the model.

        Raises:
            InputError: a class has too few patients for cross-validation.
            ValueError: the Featurizers wrote of different images.
        """
        from models import evaluation_model
        from models.classifier import BackboneModel
        from models.evaluation_model import HeadsOfClassifier
        from models.feature_records import read_gate_facts
        from models.fused_data import read_fused
        from models.fusion import fit_fusion, load_fused, recipe_of
        from models.model_run import write_model_run
        from models.signatures import export, load_transform
        from models.stored_backbone import features_digest
        from models.training import Task

        classes = json.loads(exec_properties["classes"])
        described = json.loads(exec_properties["backbones"])
        folders = network_folders(input_dict, described)
        network = load_fused(folders, {n: each["scaling"] for n, each in described.items()})
        specs = {name: part.features for name, part in network.parts.items()}
        training, evaluation = (
            read_fused(
                {name: [feature_pattern(input_dict, name, split)] for name in described},
                specs,
            )
            for split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)
        )
        trained = fit_fusion(
            network,
            Task(
                len(classes),
                abstain_accuracy=exec_properties["abstain_accuracy"],
                false_alarms=exec_properties["false_alarms"],
            ),
            training,
            evaluation,
            validation=exec_properties["validation"],
            seed=exec_properties["seed"],
            facts=[
                read_gate_facts([feature_pattern(input_dict, next(iter(described)), split)])
                for split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)
            ],
        )
        recipe = recipe_of(list(described), exec_properties["validation"])
        run_dir = artifact_utils.get_single_uri(output_dict["model_run"])
        write_model_run(run_dir, trained, recipe)
        graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
        threshold = trained.validation["abstain"]["threshold"]
        served = BackboneModel(load_transform(graph), trained.classifier, classes, threshold)
        artifact = artifact_utils.get_single_instance(output_dict["model"])
        export(served, path_utils.serving_model_dir(artifact.uri))
        digests = {
            name: features_digest(each["computed_by"], folders[name])
            for name, each in described.items()
        }
        heads = HeadsOfClassifier(trained.classifier, digests)
        evaluation_model.write(heads, path_utils.eval_model_dir(artifact.uri))
