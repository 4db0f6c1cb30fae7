"""ServingPrecision: a blessed model and images -> what the server needs to know, or have."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.serving_precision.artifact import ServingPrecisionFiles
from components.serving_precision.executor import BLESSING, EXAMPLES, FILES, MODEL, Executor


class ServingPrecisionSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of ServingPrecision."""

    PARAMETERS = {
        "precision": component_spec.ExecutionParameter(type=str),
        "machine": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {FILES: component_spec.ChannelParameter(type=ServingPrecisionFiles)}


class ServingPrecision(base_component.BaseComponent):
    """The node that says in which precision `cxr serve` runs a model's networks."""

    SPEC_CLASS = ServingPrecisionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: channel.BaseChannel,
        blessing: channel.BaseChannel,
        transformed_examples: channel.BaseChannel,
        precision: str,
        machine: str,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            model: Trainer's or ModelCombiner's.
            blessing: Evaluator's; nothing is done for a model that isn't pushed.
            transformed_examples: Transform's, with train and validation split.
            precision: `int8` is tried, and taken where it pays; `bf16` and `f32` are noted.
            machine: what a measurement depends on besides the inputs.
            code_digest: of the code that the choice depends on.
        """
        super().__init__(
            spec=ServingPrecisionSpec(
                model=model,
                blessing=blessing,
                transformed_examples=transformed_examples,
                precision=precision,
                machine=machine,
                code_digest=code_digest,
                files=channel.Channel(type=ServingPrecisionFiles),
            )
        )
