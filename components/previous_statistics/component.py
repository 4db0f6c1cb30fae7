"""PreviousStatistics: what was pushed -> the statistics of the images of an earlier version."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.previous_statistics.executor import (
    MANIFEST,
    PUSHED,
    STATISTICS,
    Driver,
    Executor,
)
from components.radiograph_example_gen.artifact import SplitManifest


class PreviousStatisticsSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of PreviousStatistics."""

    PARAMETERS = {PUSHED: component_spec.ExecutionParameter(type=str)}
    INPUTS = {MANIFEST: component_spec.ChannelParameter(type=SplitManifest)}
    OUTPUTS = {
        STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)
    }


class PreviousStatistics(base_component.BaseComponent):
    """The statistics of the latest pushed version that was trained on other images."""

    SPEC_CLASS = PreviousStatisticsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, *, manifest: channel.BaseChannel, pushed: str) -> None:
        """Construct the node.

        Args:
            manifest: RadiographExampleGen's, of this run.
            pushed: folder in which ServingPusher keeps what each version of the champion was
                made with.
        """
        super().__init__(
            spec=PreviousStatisticsSpec(
                **{
                    MANIFEST: manifest,
                    PUSHED: pushed,
                    STATISTICS: channel.Channel(type=standard_artifacts.ExampleStatistics),
                }
            )
        )
