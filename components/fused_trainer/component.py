"""FusedTrainer: features of several backbones -> one model with a head on all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.fused_trainer.backbones import BACKBONE, FEATURES
from components.fused_trainer.executor import TRANSFORM_GRAPH, Executor
from components.many_inputs import input_key, with_inputs


@dataclass(frozen=True)
class Featurized:
    """A backbone, and what its Featurizer wrote.

    Attributes:
        backbone: PretrainedBackbone's `model`.
        features: Featurizer's `features`, with the row's `fused_taps`.
        scaling: overrides the backbone's input scaling; None for its own.
        computed_by: digest of all that the features depend on, but weights, boundary and taps.
    """

    backbone: channel.BaseChannel
    features: channel.BaseChannel
    scaling: str | None
    computed_by: str


class FusedTrainerSpec(component_spec.ComponentSpec):
    """Parameters and outputs; `with_inputs` adds the backbones' inputs."""

    PARAMETERS = {
        "classes": component_spec.ExecutionParameter(type=str),
        "backbones": component_spec.ExecutionParameter(type=str),
        "validation": component_spec.ExecutionParameter(type=str),
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


class FusedTrainer(base_component.BaseComponent):
    """Trainer for a head on the networks of several backbones, which stay as they are.

    To all behind it the result is a model like a backbone's: same signatures, same files
    beside it.
    """

    SPEC_CLASS = FusedTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        backbones: Mapping[str, Featurized],
        transform_graph: channel.BaseChannel,
        classes: Sequence[str],
        validation: Literal["cross", "holdout"],
        abstain_accuracy: float,
        false_alarms: float,
        seed: int,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            backbones: name -> its weights and features; at least two.
            transform_graph: Transform's, behind which the features were computed.
            classes: names in label order.
            validation: see `models.fusion.fit_fusion`.
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
            spec=with_inputs(FusedTrainerSpec, inputs)(
                **inputs,
                classes=json.dumps(list(classes)),
                backbones=json.dumps(described),
                validation=validation,
                abstain_accuracy=abstain_accuracy,
                false_alarms=false_alarms,
                seed=seed,
                code_digest=code_digest,
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            )
        )
