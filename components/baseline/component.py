"""Baseline: the serving folder -> the model that a candidate is measured against."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.baseline.executor import (
    CANDIDATE,
    MANIFEST,
    MODEL,
    PUSHED,
    SERVING,
    Driver,
    Executor,
)
from components.radiograph_example_gen.artifact import SplitManifest


class BaselineSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of Baseline."""

    PARAMETERS = {
        SERVING: component_spec.ExecutionParameter(type=str),
        PUSHED: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        MANIFEST: component_spec.ChannelParameter(type=SplitManifest),
        CANDIDATE: component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Baseline(base_component.BaseComponent):
    """The latest pushed model, not the candidate, that can be compared on this run's test split."""

    SPEC_CLASS = BaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        *,
        manifest: channel.BaseChannel,
        candidate: channel.BaseChannel,
        serving: str,
        pushed: str,
    ) -> None:
        """Construct the node.

        Args:
            manifest: RadiographExampleGen's, of this run.
            candidate: the model that will be measured.
            serving: folder of one model's versions, as a Pusher writes it.
            pushed: folder in which ServingPusher keeps what each version was made with.
        """
        super().__init__(
            spec=BaselineSpec(
                **{
                    MANIFEST: manifest,
                    CANDIDATE: candidate,
                    SERVING: serving,
                    PUSHED: pushed,
                    MODEL: channel.Channel(type=standard_artifacts.Model),
                }
            )
        )
