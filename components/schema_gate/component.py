"""SchemaGate: ExampleValidator's anomalies -> a verdict, or an error."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.schema_gate.executor import Executor


class SchemaGateSpec(component_spec.ComponentSpec):
    """Artifacts of SchemaGate."""

    PARAMETERS = {"code_digest": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=standard_artifacts.String)}


class SchemaGate(base_component.BaseComponent):
    """Fails where ExampleValidator found an anomaly; nothing behind it runs then."""

    SPEC_CLASS = SchemaGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, anomalies: channel.BaseChannel, code_digest: str) -> None:
        """Construct the node.

        Args:
            anomalies: ExampleValidator's output.
            code_digest: of this component; a cached verdict falls with it.
        """
        super().__init__(
            spec=SchemaGateSpec(
                anomalies=anomalies,
                code_digest=code_digest,
                verdict=channel.Channel(type=standard_artifacts.String),
            )
        )
