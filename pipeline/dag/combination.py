"""The nodes of what is made of all backbones: of their models, or of their networks."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.fused_trainer import FusedTrainer
from components.model_combiner import ModelCombiner
from components.model_combiner.component import Kind
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
    """Build the nodes of an ensemble, a cascade or a fusion, from its maker to its pusher."""
    made_by: tfx.dsl.components.BaseNode
    if kind == "fusion":
        made_by = _fused_trainer(config, backbones, transform).with_id(f"Trainer.{kind}")
    else:
        made_by = _combiner(kind, config, backbones, transform).with_id(f"Combiner.{kind}")
    features = {name: backbone.features[name] for name, backbone in backbones.items()}
    behind, judged = verdict_branch(
        kind, config, example_gen, transform, made_by, features, engine, platform, audit
    )
    return [made_by, *behind], judged


def _combiner(
    kind: Kind,
    config: PipelineConfig,
    backbones: Mapping[str, Judged],
    transform: tfx.components.Transform,
) -> ModelCombiner:
    return ModelCombiner(
        kind=kind,
        models={name: backbone.candidate.model for name, backbone in backbones.items()},
        runs={name: backbone.candidate.model_run for name, backbone in backbones.items()},
        transform_graph=transform.outputs["transform_graph"],
        classes=[c.name for c in config.data.classes],
        abstain_accuracy=config.abstain_accuracy,
        code_digest=code_digest("components.model_combiner.executor"),
    )


def _fused_trainer(
    config: PipelineConfig, backbones: Mapping[str, Judged], transform: tfx.components.Transform
) -> FusedTrainer:
    return FusedTrainer(
        backbones={name: backbone.networks[name] for name, backbone in backbones.items()},
        transform_graph=transform.outputs["transform_graph"],
        classes=[c.name for c in config.data.classes],
        validation=config.fused_validation,
        abstain_accuracy=config.abstain_accuracy,
        false_alarms=config.input_gate.false_alarms,
        seed=config.seed,
        code_digest=code_digest("components.fused_trainer.executor"),
    )
