"""What stands behind every model: baseline, evaluation, pusher."""

from __future__ import annotations

from tfx import v1 as tfx

from components.baseline_resolver import LatestOtherBlessedStrategy
from components.champion.component import Candidate
from components.radiograph_example_gen import RadiographExampleGen
from components.serving_pusher import ServingPusher
from pipeline.config import PipelineConfig
from pipeline.evaluation import eval_config
from pipeline.infra_validation import infra_validation
from pipeline.layout import OutputLayout
from schema import contract


def verdict_branch(
    name: str,
    config: PipelineConfig,
    example_gen: RadiographExampleGen,
    model_from: tfx.dsl.components.BaseNode,
    layout: OutputLayout,
    audit: tfx.types.BaseChannel | None,
) -> tuple[list[tfx.dsl.components.BaseNode], Candidate]:
    """What stands behind every model: baseline, evaluation, pusher."""
    evaluator, resolver = _evaluation(name, config, example_gen, model_from)
    infra = infra_validation(name, config.infra_validation, example_gen, model_from)
    infra_blessing = infra.outputs["blessing"] if infra else None
    pusher = build_pusher(name, model_from, evaluator, layout, infra_blessing, audit)
    candidate = Candidate(
        model=model_from.outputs["model"],
        model_run=model_from.outputs["model_run"],
        blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_blessing,
    )
    return [resolver, evaluator, *([infra] if infra else []), pusher], candidate


def _evaluation(
    name: str,
    config: PipelineConfig,
    example_gen: RadiographExampleGen,
    model_from: tfx.dsl.components.BaseNode,
) -> tuple[tfx.components.Evaluator, tfx.dsl.Resolver]:
    resolver = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedStrategy,
        candidate=model_from.outputs["model"],
        # Channels without a run: every run's artifacts of these two nodes. No output_key:
        # with one, `model` gets the same key as `candidate` in the compiled node.
        model=tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.Model,
            producer_component_id=model_from.id,
        ),
        model_blessing=tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.ModelBlessing,
            producer_component_id=f"Evaluator.{name}",
        ),
    ).with_id(f"Baseline.{name}")
    gate = config.gate
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        example_splits=[contract.SPLIT_TEST],
        model=model_from.outputs["model"],
        baseline_model=resolver.outputs["model"] if gate.against_baseline else None,
        eval_config=eval_config(
            n_classes=len(config.data.classes),
            min_accuracy=gate.min_accuracy,
            against_baseline=gate.against_baseline,
            min_wilson_lower=gate.min_wilson_lower,
            baseline_significance=gate.baseline_significance,
        ),
    ).with_id(f"Evaluator.{name}")
    return evaluator, resolver


def build_pusher(
    name: str,
    model_from: tfx.dsl.components.BaseNode,
    blessing_from: tfx.dsl.components.BaseNode,
    layout: OutputLayout,
    infra_blessing: tfx.types.BaseChannel | None = None,
    audit: tfx.types.BaseChannel | None = None,
) -> ServingPusher:
    """The node that pushes a blessed model into the serving folder, under its name."""
    return ServingPusher(
        model=model_from.outputs["model"],
        model_blessing=blessing_from.outputs["blessing"],
        infra_blessing=infra_blessing,
        audit=audit,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=str(layout.serving / name)
            )
        ),
    ).with_id(f"Pusher.{name}")
