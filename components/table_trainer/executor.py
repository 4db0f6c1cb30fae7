"""The fitting of a head on the table, alone or beside networks, and its export."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.fused_trainer.backbones import feature_pattern, network_folders
from components.fused_trainer.executor import TRANSFORM_GRAPH
from schema import contract
from schema.table import TABLE_PROPERTY, TableColumn, from_json

if TYPE_CHECKING:
    from models.training import Trained


class Executor(base_executor.BaseExecutor):
    """Writes what Trainer writes."""

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
        from models.feature_records import read_gate_facts
        from models.fused_data import read_fused
        from models.fusion import load_fused
        from models.joint_params import JointParams
        from models.model_run import write_model_run
        from models.stored_backbone import features_digest
        from models.table_fitting import fit_table_model
        from models.table_models import JointNetwork, NoNetwork
        from models.training import Task
        from schema import inputs

        classes = json.loads(exec_properties["classes"])
        columns = from_json(exec_properties[TABLE_PROPERTY])
        alone = exec_properties["kind"] == contract.TABLE_MODEL
        described = json.loads(exec_properties["backbones"])
        folders = network_folders(input_dict, described)
        network: JointNetwork | NoNetwork = NoNetwork(columns)
        specs: dict[str, Any] = {name: {} for name in described}
        within = None
        if not alone:
            networks = load_fused(folders, {n: each["scaling"] for n, each in described.items()})
            specs = {name: part.features for name, part in networks.parts.items()}
            network, within = JointNetwork(networks, columns), networks.scales()
        training, evaluation = (
            read_fused(
                {name: [feature_pattern(input_dict, name, split)] for name in described},
                specs,
                beside=inputs.of_columns(columns),
            )
            for split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)
        )
        trained, recipe = fit_table_model(
            network,
            columns,
            within,
            JointParams.model_validate_json(exec_properties["recipe"]),
            Task(
                len(classes),
                abstain_accuracy=exec_properties["abstain_accuracy"],
                false_alarms=exec_properties["false_alarms"],
            ),
            training,
            evaluation,
            seed=exec_properties["seed"],
            facts=read_gate_facts(
                [
                    feature_pattern(input_dict, next(iter(described)), split)
                    for split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)
                ]
            ),
        )
        if refused := trained.validation.get(contract.NOT_TO_PUSH):
            logging.warning("%s", refused)
        run_dir = artifact_utils.get_single_uri(output_dict["model_run"])
        write_model_run(run_dir, trained, recipe)
        graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
        # What the columns' numbers mean depends on the graph: it has medians and vocabularies.
        computed = _digest_of(graph)
        digests = {
            name: features_digest(each["computed_by"] + computed, folders[name])
            for name, each in described.items()
        }
        artifact = artifact_utils.get_single_instance(output_dict["model"])
        _write(trained, columns, classes, graph, digests, artifact)


def _write(
    trained: Trained,
    columns: tuple[TableColumn, ...],
    classes: list[str],
    graph: str,
    digests: dict[str, str],
    artifact: types.Artifact,
) -> None:
    from models import evaluation_model
    from models.classifier import BackboneModel
    from models.evaluation_model import HeadsOfClassifier
    from models.signatures import ServedModel, export, load_transform
    from models.table_models import TableModel, beside_specs
    from schema import inputs

    threshold = trained.validation["abstain"]["threshold"]
    classifier, transform = trained.classifier, load_transform(graph)
    served: ServedModel
    if classifier.network.parts:
        beside = inputs.of_columns(columns)
        served = BackboneModel(transform, classifier, classes, threshold, beside)
    else:
        head = classifier.heads[contract.FLAT]
        served = TableModel(transform, head, columns, classes, threshold)
    export(served, path_utils.serving_model_dir(artifact.uri))
    first = next(iter(digests))
    heads = HeadsOfClassifier(classifier, digests, {first: beside_specs(columns)})
    evaluation_model.write(heads, path_utils.eval_model_dir(artifact.uri))


def _digest_of(graph: str) -> str:
    """Digest what Transform learnt from the training split."""
    import tensorflow as tf
    import tensorflow_transform as tft

    folder = tft.TFTransformOutput(graph).transform_savedmodel_dir
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(os.path.join(folder, contract.SAVED_MODEL_FILE), "rb") as file:
        digest.update(file.read())
    assets = os.path.join(folder, "assets")
    for name in sorted(tf.io.gfile.listdir(assets)) if tf.io.gfile.isdir(assets) else ():
        with tf.io.gfile.GFile(os.path.join(assets, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
