"""The nodes of the models that take the table."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.radiograph_example_gen import RadiographExampleGen
from components.table_trainer import TableTrainer
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.table import TableKind
from pipeline.dag.platforms import Platform
from pipeline.dag.verdict import Judged, verdict_branch
from pipeline.resolve.engine import ResolvedEngine


def table_branch(
    kind: TableKind,
    config: PipelineConfig,
    backbones: Mapping[str, Judged],
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    engine: ResolvedEngine,
    platform: Platform,
    audit: tfx.types.BaseChannel | None,
) -> tuple[list[tfx.dsl.components.BaseNode], Judged]:
    """Build the nodes of a model that takes the table, from its trainer to its pusher."""
    # The table alone is read from the first backbone's features, which hold it like the others'.
    chosen = list(backbones)[:1] if kind == "table" else list(backbones)
    trainer = TableTrainer(
        kind=kind,
        backbones={name: backbones[name].networks[name] for name in chosen},
        columns=config.data.table,
        transform_graph=transform.outputs["transform_graph"],
        classes=[c.name for c in config.data.classes],
        recipe=config.table.recipe,
        abstain_accuracy=config.abstain_accuracy,
        false_alarms=config.input_gate.false_alarms,
        seed=config.seed,
        code_digest=code_digest("components.table_trainer.executor"),
    ).with_id(f"Trainer.{kind}")
    features = {name: backbones[name].features[name] for name in chosen}
    behind, judged = verdict_branch(
        kind, config, example_gen, transform, trainer, features, engine, platform, audit
    )
    return [trainer, *behind], judged
