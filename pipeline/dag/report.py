"""The last node: what a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.champion import Champion
from components.curated_schema_gen import CuratedSchemaGen
from components.previous_statistics import PreviousStatistics
from components.radiograph_example_gen import RadiographExampleGen
from components.report import Report
from components.report.component import Reported
from components.report.filing import SETTING_FIELDS
from components.shortcut_audit import ShortcutAudit
from components.span_drift import SpanDrift
from components.versions import versions
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.provenance import fields
from pipeline.dag.platforms import Platform
from pipeline.dag.verdict import Judged
from schema import contract


def build_report(
    config: PipelineConfig,
    judged: Mapping[str, Judged],
    champion: Champion,
    example_gen: RadiographExampleGen,
    statistics_gen: tfx.components.StatisticsGen,
    schema: CuratedSchemaGen,
    audit: ShortcutAudit | None,
    platform: Platform,
    span_drift: SpanDrift | None = None,
) -> list[tfx.dsl.components.BaseNode]:
    """Build the node of the report of all models, and the node that finds older statistics."""
    previous = PreviousStatistics(
        manifest=example_gen.outputs["manifest"], pushed=platform.pushed_of(contract.CHAMPION)
    )
    report = Report(
        {
            name: Reported(
                model=model.candidate.model,
                model_run=model.candidate.model_run,
                evaluation=model.evaluation,
                blessing=model.candidate.blessing,
                card=model.candidate.card,
            )
            for name, model in judged.items()
        },
        champion=champion.outputs["model"],
        examples=example_gen.outputs["examples"],
        manifest=example_gen.outputs["manifest"],
        statistics=statistics_gen.outputs["statistics"],
        schema=schema.outputs["schema"],
        previous_statistics=previous.outputs["statistics"],
        audit=audit.outputs["audit"] if audit else None,
        span_drift=span_drift.outputs["drift"] if span_drift else None,
        settings={name: fields(config)[name] for name in SETTING_FIELDS},
        versions=json.dumps(versions()),
        code_digest=code_digest("components.report.executor"),
    )
    return [previous, report]
