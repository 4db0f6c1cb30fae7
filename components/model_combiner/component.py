"""ModelCombiner: models of several backbones -> one model that asks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.many_inputs import input_key, with_inputs
from components.model_combiner.executor import MODEL, RUN, TRANSFORM_GRAPH, Executor

Kind = Literal["ensemble", "cascade"]


class ModelCombinerSpec(component_spec.ComponentSpec):
    """Parameters and outputs; `with_inputs` adds the members' inputs."""

    PARAMETERS = {
        "kind": component_spec.ExecutionParameter(type=str),
        "classes": component_spec.ExecutionParameter(type=str),
        "abstain_accuracy": component_spec.ExecutionParameter(type=float),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        TRANSFORM_GRAPH: component_spec.ChannelParameter(type=standard_artifacts.TransformGraph)
    }
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
    }


class ModelCombiner(base_component.BaseComponent):
    """Fits a rule to the members' validation answers, and saves rule and members as one.

    To all behind it the result is a model like a backbone's: same signatures, same files
    beside it. Members are taken as they are, blessed or not: what counts is how the
    combination does.
    """

    SPEC_CLASS = ModelCombinerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        kind: Kind,
        models: Mapping[str, channel.BaseChannel],
        runs: Mapping[str, channel.BaseChannel],
        transform_graph: channel.BaseChannel,
        classes: Sequence[str],
        abstain_accuracy: float,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            kind: of combination (see `models.combination.Rule`).
            models: backbone -> its Trainer's `model`; at least two.
            runs: backbone -> its Trainer's `model_run`, with its answers on the validation
                split.
            transform_graph: Transform's, the same that all members were trained behind.
            classes: names in label order.
            abstain_accuracy: see `models.calibration.abstain_threshold`.
            code_digest: of the code that the execution depends on.
        """
        inputs = {TRANSFORM_GRAPH: transform_graph}
        for name in models:
            inputs[input_key(MODEL, name)] = models[name]
            inputs[input_key(RUN, name)] = runs[name]
        super().__init__(
            spec=with_inputs(ModelCombinerSpec, inputs)(
                **inputs,
                kind=kind,
                classes=json.dumps(list(classes)),
                abstain_accuracy=abstain_accuracy,
                code_digest=code_digest,
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            )
        )
