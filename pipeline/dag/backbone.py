"""The nodes of one backbone, from its weights to its pusher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.continued_trainer import ContinuedTrainer
from components.featurizer import Featurizer
from components.fused_trainer.component import Featurized
from components.pretrained_backbone import PretrainedBackbone
from components.previous_model import PreviousModel
from components.radiograph_example_gen import RadiographExampleGen
from models.backbones import BOUNDARY_HEAD, get_backbone
from models.hyperparameters import TrainingParams, taps_of_each_head, taps_of_either_head
from models.weights import WeightsSource
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.tuning import BEST_HYPERPARAMETERS, tuner_id
from pipeline.dag.platforms import Platform
from pipeline.dag.verdict import Judged, verdict_branch
from pipeline.resolve.engine import ResolvedEngine
from schema import contract


def backbone_branch(
    name: str,
    config: PipelineConfig,
    weights: WeightsSource,
    engine: ResolvedEngine,
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    platform: Platform,
    audit: tfx.types.BaseChannel | None,
) -> tuple[list[tfx.dsl.components.BaseNode], Judged]:
    """Build the nodes of one backbone, from its weights to its pusher."""
    params = config.training_for(name)
    boundaries, taps = _cached(name, config, params)
    backbone = PretrainedBackbone(
        backbone=name,
        weights_path=str(weights.path) if weights.path else None,
        weights_label=weights.label,
        weights_sha256=weights.sha256,
        seed=config.seed,
        scaling=params.scaling,
        traced_taps=_traced(name, config, params, boundaries),
        code_digest=code_digest("components.pretrained_backbone.executor"),
    ).with_id(f"PretrainedBackbone.{name}")
    featurizer = Featurizer(
        examples=transform.outputs["transformed_examples"],
        model=backbone.outputs["model"],
        backbone=name,
        boundaries=boundaries,
        taps=taps,
        scaling=params.scaling,
        augmentations={split: params.augmentations_of(split) for split in contract.SPLITS},
        engine=engine.name,
        engine_version=engine.version,
        code_digest=code_digest("components.featurizer.executor"),
        store=platform.features,
        table=config.data.table,
    ).with_id(f"Featurizer.{name}")
    tuning = _tuning(name, config, params, featurizer, backbone)
    previous = _previous(name, config, example_gen, platform)
    trainer = _trainer(
        previous,
        run_fn="models.trainer.run_fn",
        examples=featurizer.outputs["features"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=backbone.outputs["model"],
        hyperparameters=tuning[0].outputs[BEST_HYPERPARAMETERS] if tuning else None,
        train_args=tfx.proto.TrainArgs(splits=[contract.SPLIT_TRAIN]),
        eval_args=tfx.proto.EvalArgs(splits=[contract.SPLIT_EVAL]),
        custom_config={
            "backbone": name,
            "classes": [c.name for c in config.data.classes],
            "healthy": config.data.healthy_class,
            "abstain_accuracy": config.abstain_accuracy,
            "false_alarms": config.input_gate.false_alarms,
            "seed": config.seed,
            "training": params.model_dump(mode="json"),
            "features": _computed_by(params, engine),
            "code_digest": code_digest("models.trainer", "components.continued_trainer.executor"),
        },
    ).with_id(f"Trainer.{name}")
    behind, judged = verdict_branch(
        name,
        config,
        example_gen,
        transform,
        trainer,
        {name: featurizer.outputs["features"]},
        engine,
        platform,
        audit,
        backbone.outputs["model"],
    )
    network = Featurized(
        backbone=backbone.outputs["model"],
        features=featurizer.outputs["features"],
        scaling=params.scaling,
        computed_by=_computed_by(params, engine),
    )
    nodes = [backbone, featurizer, *tuning, *previous, trainer, *behind]
    return nodes, replace(judged, networks={name: network})


def _computed_by(params: TrainingParams, engine: ResolvedEngine) -> str:
    """Hash all that features depend on, but weights, boundary, taps and augmentations."""
    code = code_digest("models.preprocessing", "components.featurizer.executor")
    parts = (params.scaling, engine.name, engine.version, code)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _previous(
    name: str, config: PipelineConfig, example_gen: RadiographExampleGen, platform: Platform
) -> list[tfx.dsl.components.BaseNode]:
    """Build the node that finds the model to start from, where training goes on from one."""
    if not config.continues:
        return []
    previous = PreviousModel(
        manifest=example_gen.outputs["manifest"],
        serving=platform.serving_of(name),
        pushed=platform.pushed_of(name),
    )
    return [previous.with_id(f"Previous.{name}")]


def _trainer(
    previous: Sequence[tfx.dsl.components.BaseNode], **arguments: Any
) -> tfx.dsl.components.BaseNode:
    """Build TFX's own Trainer, or where an earlier model is looked for, one that starts from it."""
    if not previous:
        return tfx.components.Trainer(**arguments)
    (found,) = previous
    return ContinuedTrainer(
        previous_model=found.outputs["model"],
        previous_run=found.outputs["model_run"],
        **arguments,
    )


def _cached(
    name: str, config: PipelineConfig, params: TrainingParams
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the boundaries and taps for which features are computed.

    Another kind of head costs no features, since the taps of both are there; nor does the fused
    head, whose taps come from the same pass through the network.
    """
    row = get_backbone(name)
    taps = taps_of_either_head(params, row)
    tuned = config.tuning.mode != "off"
    boundaries = config.tuning.boundaries_of(row) if tuned else [params.boundary]
    if not config.fuses:
        return boundaries, taps
    return (
        list(dict.fromkeys((*boundaries, BOUNDARY_HEAD))),
        tuple(tap for tap in row.all_taps if tap in {*taps, *row.fused_taps}),
    )


def _traced(
    name: str, config: PipelineConfig, params: TrainingParams, boundaries: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the sets of taps that a head may stand on, where the whole network is frozen.

    As with what is cached, another kind of head changes none of them: the Featurizer stands on
    PretrainedBackbone's artifact, too, and what it computed is dear.
    """
    if BOUNDARY_HEAD not in boundaries:
        return []
    row = get_backbone(name)
    fused = [tuple(row.fused_taps)] if config.fuses else []
    heads_alone = params.boundary == BOUNDARY_HEAD or config.tuning.mode != "off"
    wanted = [*(taps_of_each_head(params, row) if heads_alone else ()), *fused]
    return list(dict.fromkeys(wanted))


def _tuning(
    name: str,
    config: PipelineConfig,
    params: TrainingParams,
    featurizer: Featurizer,
    backbone: PretrainedBackbone,
) -> list[tfx.dsl.components.BaseNode]:
    """Build the node whose BEST_HYPERPARAMETERS the Trainer takes, where there is one."""
    if config.tuning.mode == "off":
        return []
    if config.tuning.mode == "reuse":
        latest = tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.HyperParameters,
            producer_component_id=tuner_id(name),
        )
        resolver = tfx.dsl.Resolver(
            strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
            **{BEST_HYPERPARAMETERS: latest},
        )
        return [resolver.with_id(f"Tuned.{name}")]
    tuner = tfx.components.Tuner(
        tuner_fn="models.tuning.tuner_fn",
        examples=featurizer.outputs["features"],
        base_model=backbone.outputs["model"],
        train_args=tfx.proto.TrainArgs(splits=[contract.SPLIT_TRAIN]),
        eval_args=tfx.proto.EvalArgs(splits=[contract.SPLIT_EVAL]),
        custom_config={
            "backbone": name,
            "n_classes": len(config.data.classes),
            "seed": config.seed,
            "training": params.model_dump(mode="json"),
            "boundaries": list(config.tuning.boundaries_of(get_backbone(name))),
            "trials": config.tuning.trials,
            "code_digest": code_digest("models.tuning"),
        },
    )
    return [tuner.with_id(tuner_id(name))]
