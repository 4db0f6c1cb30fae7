"""InfraCheck: a candidate, served for a moment -> InfraBlessing."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.infra_check.executor import BLESSING, EXAMPLES, FILES, MODEL, RUN, Executor
from components.serving_precision.artifact import ServingPrecisionFiles


class InfraCheckSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of InfraCheck."""

    PARAMETERS = {
        "images": component_spec.ExecutionParameter(type=int),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        FILES: component_spec.ChannelParameter(type=ServingPrecisionFiles, optional=True),
    }
    OUTPUTS = {BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraCheck(base_component.BaseComponent):
    """The node that loads a model in a server in a fresh process, and sends it real requests.

    What TFX's InfraValidator does with TensorFlow Serving in Docker, this does with the server
    that is here. A model that can't be loaded or answers otherwise than it should is not
    blessed, and the Pusher behind doesn't push it.
    """

    SPEC_CLASS = InfraCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: channel.BaseChannel,
        model_run: channel.BaseChannel,
        examples: channel.BaseChannel,
        images: int,
        code_digest: str,
        precision_files: channel.BaseChannel | None = None,
    ) -> None:
        """Construct the node.

        Args:
            model: Trainer's or ModelCombiner's.
            model_run: its `model_run`, with its answers on the validation split.
            examples: RadiographExampleGen's, with validation and test split.
            images: sent of each class, of either split.
            code_digest: of the code that the verdict depends on.
            precision_files: ServingPrecision's; they lie beside the model while it is served.
        """
        super().__init__(
            spec=InfraCheckSpec(
                model=model,
                model_run=model_run,
                examples=examples,
                images=images,
                code_digest=code_digest,
                precision_files=precision_files,
                blessing=channel.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
