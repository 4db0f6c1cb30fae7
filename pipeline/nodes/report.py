"""The last node: what a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tfx import v1 as tfx

from components.champion import Champion
from components.curated_schema_gen import CuratedSchemaGen
from components.radiograph_example_gen import RadiographExampleGen
from components.report import Report
from components.report.component import Reported
from components.shortcut_audit import ShortcutAudit
from components.versions import versions
from pipeline.code_digest import code_digest
from pipeline.nodes.sources import REPORT_CODE
from pipeline.nodes.verdict import Judged


def build_report(
    judged: Mapping[str, Judged],
    champion: Champion,
    example_gen: RadiographExampleGen,
    statistics_gen: tfx.components.StatisticsGen,
    schema: CuratedSchemaGen,
    audit: ShortcutAudit | None,
) -> Report:
    """The node that writes the report of all models."""
    return Report(
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
        audit=audit.outputs["audit"] if audit else None,
        versions=json.dumps(versions()),
        code_digest=code_digest(*REPORT_CODE),
    )
