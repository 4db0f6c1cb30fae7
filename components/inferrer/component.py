"""Inferrer: a model, and features that are there -> its answers on the test split."""

from __future__ import annotations

from collections.abc import Mapping

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.inferrer.executor import (
    ANSWERS,
    BASELINE,
    EXAMPLES,
    MODEL,
    Executor,
    features_key,
)
from components.many_inputs import with_inputs


class InferrerSpec(component_spec.ComponentSpec):
    """Parameters and artifacts; `with_inputs` adds the features' inputs."""

    PARAMETERS = {
        "sampled_images": component_spec.ExecutionParameter(type=int),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {ANSWERS: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class Inferrer(base_component.BaseComponent):
    """Answers for Evaluator, as TFX's BulkInferrer would, without running a network again.

    Evaluator then judges records that hold a model's answer and no pixels.
    """

    SPEC_CLASS = InferrerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: channel.BaseChannel,
        baseline_model: channel.BaseChannel | None,
        examples: channel.BaseChannel,
        features: Mapping[str, channel.BaseChannel],
        sampled_images: int,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            model: Trainer's or ModelCombiner's.
            baseline_model: the earlier model that it is compared with; None where none is
                looked for. What is found may be empty.
            examples: RadiographExampleGen's, with the test split.
            features: backbone -> Featurizer's `features`, of all that the model stands on.
            sampled_images: that the SavedModel itself is asked about, too.
            code_digest: of the code that the answers depend on.
        """
        inputs = {features_key(name): each for name, each in features.items()}
        super().__init__(
            spec=with_inputs(InferrerSpec, inputs)(
                **{MODEL: model, BASELINE: baseline_model, EXAMPLES: examples},
                **inputs,
                sampled_images=sampled_images,
                code_digest=code_digest,
                **{ANSWERS: channel.Channel(type=standard_artifacts.Examples)},
            )
        )
