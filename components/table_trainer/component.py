"""TableTrainer: columns of the table, and features of backbones -> one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.fused_trainer.backbones import BACKBONE, FEATURES
from components.fused_trainer.component import Featurized
from components.fused_trainer.executor import TRANSFORM_GRAPH
from components.many_inputs import input_key, with_inputs
from components.table_trainer.executor import Executor
from schema.table import TABLE_PROPERTY, TableColumn, to_json

if TYPE_CHECKING:
    from models.joint_params import JointParams

Kind = Literal["table", "joint"]


class TableTrainerSpec(component_spec.ComponentSpec):
    """Parameters and outputs; `with_inputs` adds the backbones' inputs."""

    PARAMETERS = {
        "kind": component_spec.ExecutionParameter(type=str),
        "classes": component_spec.ExecutionParameter(type=str),
        "backbones": component_spec.ExecutionParameter(type=str),
        TABLE_PROPERTY: component_spec.ExecutionParameter(type=str),
        "recipe": component_spec.ExecutionParameter(type=str),
        "abstain_accuracy": component_spec.ExecutionParameter(type=float),
        "false_alarms": component_spec.ExecutionParameter(type=float),
        "seed": component_spec.ExecutionParameter(type=int),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        TRANSFORM_GRAPH: component_spec.ChannelParameter(type=standard_artifacts.TransformGraph)
    }
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
    }


class TableTrainer(base_component.BaseComponent):
    """Trainer for a head on columns of the table, alone or beside networks that stay as they are.

    To all behind it the result is a model like a backbone's: same signatures and one more, same
    files beside it.
    """

    SPEC_CLASS = TableTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        kind: Kind,
        backbones: Mapping[str, Featurized],
        columns: Sequence[TableColumn],
        transform_graph: channel.BaseChannel,
        classes: Sequence[str],
        recipe: JointParams,
        abstain_accuracy: float,
        false_alarms: float,
        seed: int,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            kind: the table alone, or beside the image.
            backbones: name -> its weights and features, which hold the columns, too; one is enough.
            columns: of the table.
            transform_graph: Transform's, behind which the features were computed.
            classes: names in label order.
            recipe: of the head.
            abstain_accuracy: see `models.calibration.abstain_threshold`.
            false_alarms: the share of radiographs that the input gate may keep out.
            seed: of the folds.
            code_digest: of the code that the execution depends on.
        """
        inputs = {TRANSFORM_GRAPH: transform_graph}
        for name, each in backbones.items():
            inputs[input_key(BACKBONE, name)] = each.backbone
            inputs[input_key(FEATURES, name)] = each.features
        described = {
            name: {"scaling": each.scaling, "computed_by": each.computed_by}
            for name, each in backbones.items()
        }
        super().__init__(
            spec=with_inputs(TableTrainerSpec, inputs)(
                **inputs,
                kind=kind,
                classes=json.dumps(list(classes)),
                backbones=json.dumps(described),
                table=to_json(columns),
                recipe=recipe.model_dump_json(),
                abstain_accuracy=abstain_accuracy,
                false_alarms=false_alarms,
                seed=seed,
                code_digest=code_digest,
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            )
        )
