"""The nodes of an ensemble or a cascade of the backbones' models."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.model_combiner import ModelCombiner
from components.radiograph_example_gen import RadiographExampleGen
from pipeline.config.pipeline_config import Combining, PipelineConfig
from pipeline.dag.platforms import Platform
from pipeline.dag.verdict import Judged, verdict_branch
from pipeline.resolve.engine import ResolvedEngine


def combination_branch(
    kind: Combining,
    config: PipelineConfig,
    backbones: Mapping[str, Judged],
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    engine: ResolvedEngine,
    platform: Platform,
    audit: tfx.types.BaseChannel | None,
) -> tuple[list[tfx.dsl.components.BaseNode], Judged]:
    """Build the nodes of an ensemble or a cascade of the backbones' models."""
    combiner = ModelCombiner(
        kind=kind,
        models={name: backbone.candidate.model for name, backbone in backbones.items()},
        runs={name: backbone.candidate.model_run for name, backbone in backbones.items()},
        transform_graph=transform.outputs["transform_graph"],
        classes=[c.name for c in config.data.classes],
        abstain_accuracy=config.abstain_accuracy,
        code_digest=code_digest("components.model_combiner.executor"),
    ).with_id(f"Combiner.{kind}")
    features = {name: backbone.features[name] for name, backbone in backbones.items()}
    behind, judged = verdict_branch(
        kind, config, example_gen, combiner, features, engine, platform, audit
    )
    return [combiner, *behind], judged
