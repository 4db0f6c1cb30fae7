"""PushedBaseline: the serving folder -> the model that a candidate is measured against."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.pushed_baseline.executor import HISTORY, MANIFEST, MODEL, SERVING, Executor
from components.radiograph_example_gen.artifact import SplitManifest


class PushedBaselineSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of PushedBaseline."""

    PARAMETERS = {
        SERVING: component_spec.ExecutionParameter(type=str),
        HISTORY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {MANIFEST: component_spec.ChannelParameter(type=SplitManifest)}
    OUTPUTS = {MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class PushedBaseline(base_component.BaseComponent):
    """The latest pushed model that can be compared on this run's test split."""

    SPEC_CLASS = PushedBaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, manifest: channel.BaseChannel, serving: str, history: str) -> None:
        """Constructs the node.

        Args:
            manifest: RadiographExampleGen's, of this run.
            serving: folder of one model's versions, as a Pusher writes it.
            history: folder in which ServingPusher keeps each version's manifest.
        """
        super().__init__(
            spec=PushedBaselineSpec(
                **{
                    MANIFEST: manifest,
                    SERVING: serving,
                    HISTORY: history,
                    MODEL: channel.Channel(type=standard_artifacts.Model),
                }
            )
        )
