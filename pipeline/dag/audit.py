"""The node that looks for leaks and shortcuts."""

from __future__ import annotations

from common.code_digest import code_digest
from components.radiograph_example_gen import RadiographExampleGen
from components.shortcut_audit import ShortcutAudit
from pipeline.config.pipeline_config import PipelineConfig


def build_audit(config: PipelineConfig, example_gen: RadiographExampleGen) -> ShortcutAudit | None:
    """Build the node, where the configuration asks for it."""
    if not config.audit.enabled:
        return None
    return ShortcutAudit(
        examples=example_gen.outputs["examples"],
        manifest=example_gen.outputs["manifest"],
        seed=config.seed,
        min_correlation=config.audit.min_correlation,
        max_duplicates_across_splits=config.audit.max_duplicates_across_splits,
        max_patients_across_splits=config.audit.max_patients_across_splits,
        max_shortcut_accuracy=config.audit.max_shortcut_accuracy,
        max_table_auc=config.audit.max_table_auc,
        table=config.data.table,
        code_digest=code_digest("components.shortcut_audit.executor"),
    )
