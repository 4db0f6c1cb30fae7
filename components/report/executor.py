"""Hands the artifacts of a run over to the report."""

from __future__ import annotations

import json
from typing import Any, Final

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.champion.executor import BACKBONE_PROPERTY
from components.many_inputs import input_key
from components.report.sources import ModelSources, ReportSources

MODEL: Final = "model"
RUN: Final = "run"
EVALUATION: Final = "evaluation"
BLESSING: Final = "blessing"
CARD: Final = "card"
CHAMPION: Final = "champion_model"
EXAMPLES: Final = "examples"
MANIFEST: Final = "manifest"
STATISTICS: Final = "statistics"
SCHEMA: Final = "schema"
PREVIOUS_STATISTICS: Final = "previous_statistics"
AUDIT: Final = "audit"
SPAN_DRIFT: Final = "span_drift"
REPORT: Final = "report"
NAMES: Final = "names"
SETTINGS: Final = "settings"


class Executor(base_executor.BaseExecutor):
    """The executor that writes the report into its artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Compute, draw and write."""
        from components.report.writing import write_report

        names, settings = (json.loads(exec_properties[key]) for key in (NAMES, SETTINGS))
        sources = sources_of(input_dict, names, settings)
        write_report(sources, artifact_utils.get_single_uri(output_dict[REPORT]))


def sources_of(
    artifacts: dict[str, list[types.Artifact]], names: list[str], settings: dict[str, Any]
) -> ReportSources:
    """Find where the artifacts lie.

    Args:
        artifacts: as the executor gets them.
        names: of the models, in the order in which they are shown.
        settings: as `ReportSources.settings`.
    """

    def uri(key: str) -> str:
        return str(artifact_utils.get_single_uri(artifacts[key]))

    def uri_if_any(key: str) -> str | None:
        return uri(key) if artifacts.get(key) else None

    (champion,) = artifacts[CHAMPION]
    return ReportSources(
        models=tuple(
            ModelSources(
                name=name,
                model=uri(input_key(MODEL, name)),
                run=uri(input_key(RUN, name)),
                evaluation=uri(input_key(EVALUATION, name)),
                blessed=_blessed(artifacts[input_key(BLESSING, name)][0]),
                card=uri_if_any(input_key(CARD, name)),
            )
            for name in names
        ),
        champion=champion.get_string_custom_property(BACKBONE_PROPERTY) or None,
        examples=uri(EXAMPLES),
        manifest=uri(MANIFEST),
        statistics=uri(STATISTICS),
        schema=uri(SCHEMA),
        previous_statistics=uri_if_any(PREVIOUS_STATISTICS),
        audit=uri_if_any(AUDIT),
        span_drift=uri_if_any(SPAN_DRIFT),
        settings=settings,
    )


def _blessed(artifact: types.Artifact) -> bool:
    return bool(artifact.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1)
