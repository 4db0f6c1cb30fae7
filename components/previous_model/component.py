"""PreviousModel: the serving folder -> the model that a training goes on from."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.previous_model.executor import (
    MANIFEST,
    MODEL,
    PUSHED,
    RUN,
    SERVING,
    Driver,
    Executor,
)
from components.radiograph_example_gen.artifact import SplitManifest


class PreviousModelSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of PreviousModel."""

    PARAMETERS = {
        SERVING: component_spec.ExecutionParameter(type=str),
        PUSHED: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {MANIFEST: component_spec.ChannelParameter(type=SplitManifest)}
    OUTPUTS = {
        MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
    }


class PreviousModel(base_component.BaseComponent):
    """The latest pushed model of other images that has seen nothing of this run's test split."""

    SPEC_CLASS = PreviousModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, *, manifest: channel.BaseChannel, serving: str, pushed: str) -> None:
        """Construct the node.

        Args:
            manifest: RadiographExampleGen's, of this run.
            serving: folder of one model's versions, as a Pusher writes it.
            pushed: folder in which ServingPusher keeps what each version was made with.
        """
        super().__init__(
            spec=PreviousModelSpec(
                **{
                    MANIFEST: manifest,
                    SERVING: serving,
                    PUSHED: pushed,
                    MODEL: channel.Channel(type=standard_artifacts.Model),
                    RUN: channel.Channel(type=standard_artifacts.ModelRun),
                }
            )
        )
