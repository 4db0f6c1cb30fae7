"""The nodes that stand behind every model: baseline, evaluation, card, pusher."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.baseline import Baseline
from components.champion.component import Candidate
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import eval_config
from components.fused_trainer.component import Featurized
from components.inferrer import Inferrer
from components.model_card import ModelCard
from components.radiograph_example_gen import RadiographExampleGen
from components.serving_pusher import ServingPusher
from components.versions import versions
from models.engines import PROBABILITY_TOLERANCE
from pipeline.config.nodes import PushConfig
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.dag.infra_validation import infra_validation
from pipeline.dag.platforms import Platform
from pipeline.dag.serving_precision import serving_precision
from pipeline.resolve.engine import ResolvedEngine
from schema import contract

# That each exported SavedModel is asked about in each run; a long test asks about all.
_SAMPLED: Final = 8
# What stands on several backbones has their networks, about which the backbones' own models are
# asked: it is asked whether they were put together as it was judged.
_SAMPLED_OF_SEVERAL: Final = 2


@dataclass(frozen=True)
class Judged:
    """A model with its verdict.

    Attributes:
        candidate: what Champion chooses from.
        evaluation: Evaluator's `evaluation`.
        features: backbone -> Featurizer's `features`, of all that the model stands on.
        networks: backbone -> its network, where the model is a backbone's own.
    """

    candidate: Candidate
    evaluation: tfx.types.BaseChannel
    features: Mapping[str, tfx.types.BaseChannel]
    networks: Mapping[str, Featurized] = field(default_factory=dict)


def sampled_images(backbones: Collection[str]) -> int:
    """Say about how many test images a model's SavedModel is asked in each run.

    Args:
        backbones: on which the model stands.
    """
    return _SAMPLED_OF_SEVERAL if len(backbones) > 1 else _SAMPLED


def verdict_branch(
    name: str,
    config: PipelineConfig,
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    model_from: tfx.dsl.components.BaseNode,
    features: Mapping[str, tfx.types.BaseChannel],
    engine: ResolvedEngine,
    platform: Platform,
    audit: tfx.types.BaseChannel | None,
    pretrained: tfx.types.BaseChannel | None = None,
) -> tuple[list[tfx.dsl.components.BaseNode], Judged]:
    """Build what stands behind every model: baseline, answers, evaluation, card, pusher.

    Args:
        name: of the model.
        config: of the run.
        example_gen: whose test split judges.
        transform: whose images say whether int8 pays.
        model_from: Trainer, FusedTrainer or ModelCombiner.
        features: backbone -> Featurizer's `features`, of all that the model stands on.
        engine: what computed them.
        platform: where it will run.
        audit: ShortcutAudit's `audit`, where it may say no.
        pretrained: PretrainedBackbone's `model`; what stands on several has none.
    """
    baseline = Baseline(
        manifest=example_gen.outputs["manifest"],
        candidate=model_from.outputs["model"],
        serving=platform.serving_of(name),
        pushed=platform.pushed_of(name),
    ).with_id(f"Baseline.{name}")
    inferrer = Inferrer(
        model=model_from.outputs["model"],
        baseline_model=baseline.outputs["model"] if config.gate.against_baseline else None,
        examples=example_gen.outputs["examples"],
        features=features,
        sampled_images=sampled_images(features),
        code_digest=code_digest("components.inferrer.executor"),
    ).with_id(f"Inferrer.{name}")
    evaluator = _evaluator(name, config, inferrer, model_from, baseline, engine)
    precision = serving_precision(
        name, config.serve, transform, model_from, evaluator, local=platform.metadata is not None
    )
    precision_files = precision.outputs["files"] if precision else None
    infra = infra_validation(
        name, config.infra_validation, example_gen, model_from, precision_files
    )
    infra_blessing = infra.outputs["blessing"] if infra else None
    card = ModelCard(
        name=name,
        classes=[c.name for c in config.data.classes],
        seed=config.seed,
        preset=config.preset,
        gate=config.gate.model_dump(mode="json"),
        versions=versions(),
        code_digest=code_digest("components.model_card.executor"),
        model_run=model_from.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        blessing=evaluator.outputs["blessing"],
        manifest=example_gen.outputs["manifest"],
        pretrained=pretrained,
        infra_blessing=infra_blessing,
    ).with_id(f"ModelCard.{name}")
    model_card = card.outputs["model_card"]
    pusher = build_pusher(
        name,
        config.push,
        model_from,
        evaluator,
        platform,
        example_gen.outputs["manifest"],
        model_run=model_from.outputs["model_run"],
        infra_blessing=infra_blessing,
        model_card=model_card,
        audit=audit,
        precision_files=precision_files,
    )
    candidate = Candidate(
        model=model_from.outputs["model"],
        model_run=model_from.outputs["model_run"],
        blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_blessing,
        card=model_card,
        precision_files=precision_files,
    )
    judged = Judged(candidate, evaluator.outputs["evaluation"], features)
    between = [node for node in (precision, infra) if node]
    return [baseline, inferrer, evaluator, *between, card, pusher], judged


def _evaluator(
    name: str,
    config: PipelineConfig,
    inferrer: Inferrer,
    model_from: tfx.dsl.components.BaseNode,
    baseline: tfx.dsl.components.BaseNode,
    engine: ResolvedEngine,
) -> Evaluator:
    gate = config.gate
    evaluator = Evaluator(
        examples=inferrer.outputs["answers"],
        example_splits=[contract.SPLIT_TEST],
        model=model_from.outputs["model"],
        baseline_model=baseline.outputs["model"] if gate.against_baseline else None,
        eval_config=eval_config(
            n_classes=len(config.data.classes),
            min_accuracy=gate.min_accuracy,
            against_baseline=gate.against_baseline,
            served_within=PROBABILITY_TOLERANCE[engine.name],
            min_wilson_lower=gate.min_wilson_lower,
            baseline_significance=gate.baseline_significance,
            few_patients=gate.few_patients,
            slices=gate.slices,
            columns=config.data.slice_columns or (),
            features=[column.name for column in config.data.table],
        ),
    ).with_id(f"Evaluator.{name}")
    return evaluator


def build_pusher(
    name: str,
    push: PushConfig,
    model_from: tfx.dsl.components.BaseNode,
    blessing_from: tfx.dsl.components.BaseNode,
    platform: Platform,
    manifest: tfx.types.BaseChannel,
    *,
    model_run: tfx.types.BaseChannel | None = None,
    statistics: tfx.types.BaseChannel | None = None,
    infra_blessing: tfx.types.BaseChannel | None = None,
    model_card: tfx.types.BaseChannel | None = None,
    audit: tfx.types.BaseChannel | None = None,
    precision_files: tfx.types.BaseChannel | None = None,
) -> ServingPusher:
    """Build the node that pushes a blessed model into the serving folder, under its name.

    Champion's model has its card and its note beside it already, and its run is another model's.
    """
    return ServingPusher(
        model=model_from.outputs["model"],
        model_blessing=blessing_from.outputs["blessing"],
        infra_blessing=infra_blessing,
        model_card=model_card,
        audit=audit,
        manifest=manifest,
        model_run=model_run,
        statistics=statistics,
        precision_files=precision_files,
        pushed=platform.pushed_of(name),
        signing_key=str(push.signing_key) if push.signing_key else None,
        signing_key_variable=push.signing_key_variable,
        signed_by=push.signed_by,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=platform.serving_of(name)
            )
        ),
    ).with_id(f"Pusher.{name}")
