"""SpanDrift: the split manifest -> how far the last span is from the one before, or an error."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec

from components.radiograph_example_gen.artifact import SplitManifest
from components.span_drift.artifact import SpanDriftReport
from components.span_drift.executor import DRIFT, LIMIT, MANIFEST, Executor


class SpanDriftSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of SpanDrift."""

    PARAMETERS = {
        LIMIT: component_spec.ExecutionParameter(type=float, optional=True),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {MANIFEST: component_spec.ChannelParameter(type=SplitManifest)}
    OUTPUTS = {DRIFT: component_spec.ChannelParameter(type=SpanDriftReport)}


class SpanDrift(base_component.BaseComponent):
    """The node that compares the last two spans; beyond a limit it fails, before training."""

    SPEC_CLASS = SpanDriftSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, *, manifest: channel.BaseChannel, max_drift: float | None, code_digest: str
    ) -> None:
        """Construct the node.

        Args:
            manifest: RadiographExampleGen's, of images that came in spans.
            max_drift: TFDV's distance, 0..1, that no feature may exceed; None asks for nothing.
            code_digest: of the code that measures; a cached verdict falls with it.
        """
        super().__init__(
            spec=SpanDriftSpec(
                manifest=manifest,
                max_drift=max_drift,
                code_digest=code_digest,
                drift=channel.Channel(type=SpanDriftReport),
            )
        )
