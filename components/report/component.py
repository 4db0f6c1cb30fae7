"""Report: everything that a run made -> one page that says what it is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, channel, component_spec

from components.many_inputs import input_key, with_inputs
from components.report.executor import (
    AUDIT,
    BLESSING,
    CARD,
    CHAMPION,
    EVALUATION,
    EXAMPLES,
    MANIFEST,
    MODEL,
    NAMES,
    PREVIOUS_STATISTICS,
    REPORT,
    RUN,
    SCHEMA,
    SETTINGS,
    SPAN_DRIFT,
    STATISTICS,
    Executor,
)
from components.report.sources import in_order


class ReportArtifact(artifact.Artifact):
    """A folder with index.html, report.json, answers.json and figures/."""

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.ReportArtifact"


@dataclass(frozen=True)
class Reported:
    """The channels of one backbone, or of a combination of them.

    Attributes:
        model: Trainer's or ModelCombiner's `model`.
        model_run: its `model_run`.
        evaluation: Evaluator's `evaluation`.
        blessing: its `blessing`.
        card: ModelCard's `model_card`; None where there is none.
    """

    model: channel.BaseChannel
    model_run: channel.BaseChannel
    evaluation: channel.BaseChannel
    blessing: channel.BaseChannel
    card: channel.BaseChannel | None = None


class ReportSpec(component_spec.ComponentSpec):
    """Parameters and outputs; `with_inputs` adds the inputs."""

    PARAMETERS = {
        NAMES: component_spec.ExecutionParameter(type=str),
        SETTINGS: component_spec.ExecutionParameter(type=str),
        "versions": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {REPORT: component_spec.ChannelParameter(type=ReportArtifact)}


def _inputs(models: Mapping[str, Reported]) -> dict[str, channel.BaseChannel]:
    inputs = {}
    for name, model in models.items():
        inputs[input_key(MODEL, name)] = model.model
        inputs[input_key(RUN, name)] = model.model_run
        inputs[input_key(EVALUATION, name)] = model.evaluation
        inputs[input_key(BLESSING, name)] = model.blessing
        if model.card is not None:
            inputs[input_key(CARD, name)] = model.card
    return inputs


class Report(base_component.BaseComponent):
    """The node that writes the report of a run.

    It stands at the end of the DAG and reads what others computed: their artifacts decide
    whether it runs again, no clock and no folder do.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        models: Mapping[str, Reported],
        *,
        champion: channel.BaseChannel,
        examples: channel.BaseChannel,
        manifest: channel.BaseChannel,
        statistics: channel.BaseChannel,
        schema: channel.BaseChannel,
        previous_statistics: channel.BaseChannel | None = None,
        audit: channel.BaseChannel | None = None,
        span_drift: channel.BaseChannel | None = None,
        settings: Mapping[str, Any],
        versions: str,
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            models: name -> its channels.
            champion: Champion's `model`; without a winner it names none.
            examples: RadiographExampleGen's `examples`.
            manifest: its `manifest`.
            statistics: StatisticsGen's `statistics`.
            schema: the curated `schema`.
            previous_statistics: StatisticsGen's of an earlier run with other images; the
                channel may be empty.
            audit: ShortcutAudit's `audit`.
            span_drift: SpanDrift's `drift`.
            settings: fields of the configuration -> values, which the page for a filing repeats.
            versions: of the packages that compute it, as one text.
            code_digest: of the code that computes it.
        """
        inputs = _inputs(models) | {
            CHAMPION: champion,
            EXAMPLES: examples,
            MANIFEST: manifest,
            STATISTICS: statistics,
            SCHEMA: schema,
        }
        if previous_statistics is not None:
            inputs[PREVIOUS_STATISTICS] = previous_statistics
        if audit is not None:
            inputs[AUDIT] = audit
        if span_drift is not None:
            inputs[SPAN_DRIFT] = span_drift
        super().__init__(
            spec=with_inputs(ReportSpec, inputs, {PREVIOUS_STATISTICS})(
                **inputs,
                **{NAMES: json.dumps(in_order(models)), SETTINGS: json.dumps(settings)},
                versions=versions,
                code_digest=code_digest,
                report=channel.Channel(type=ReportArtifact),
            )
        )
