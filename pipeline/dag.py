"""The DAG: images -> examples -> features -> models -> verdict -> serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.proto import transform_pb2

from components.baseline_resolver import LatestOtherBlessedStrategy
from components.champion import Champion
from components.champion.component import Candidate
from components.curated_schema_gen import CuratedSchemaGen
from components.featurizer import Featurizer
from components.model_combiner import ModelCombiner
from components.pretrained_backbone import PretrainedBackbone
from components.radiograph_example_gen import RadiographExampleGen
from components.schema_gate import SchemaGate
from components.serving_pusher import ServingPusher
from models.backbones import get_backbone
from models.hyperparameters import TrainingParams, taps_of_either_head
from models.weights import WeightsSource
from pipeline.beam_options import beam_pipeline_args
from pipeline.code_digest import code_digest
from pipeline.config import Combining, PipelineConfig
from pipeline.engine_resolution import ResolvedEngine
from pipeline.evaluation import eval_config
from pipeline.infra_validation import infra_validation
from pipeline.layout import PIPELINE_NAME, OutputLayout
from pipeline.tuning import BEST_HYPERPARAMETERS, tuner_id
from schema import SCHEMA_DIR, SCHEMA_FILE, contract

# What the cached results of the nodes depend on; heads and training are not among it, so
# that working on them costs no features.
_PREPROCESSING_CODE = ("models/preprocessing.py", "schema/contract.py")
_BACKBONE_CODE = ("models/backbones.py", "schema/contract.py")
_FEATURE_CODE = (
    "models/boundary.py",
    "models/engines.py",
    "models/openvino_runtime.py",
    "models/feature_records.py",
    "models/prefix.py",
    "models/views.py",
)
_CHAMPION_CODE = (
    "components/champion",
    "components/infra_check/note.py",
    "models/choice.py",
    "schema/contract.py",
)
_COMBINATION_CODE = (
    "components/model_combiner",
    "models/calibration.py",
    "models/chunks.py",
    "models/combination.py",
    "models/explanation.py",
    "models/predictions.py",
    "models/signatures.py",
    "schema/contract.py",
)


def create_pipeline(
    config: PipelineConfig, weights: Mapping[str, WeightsSource], engine: ResolvedEngine
) -> tfx.dsl.Pipeline:
    """Builds the whole DAG; reads the code (for its digest) and the schema, no data.

    Args:
        config: the checked configuration.
        weights: backbone -> where its weights come from (`pipeline.weights_resolution`).
        engine: what runs the frozen networks (`pipeline.engine_resolution`).
    """
    layout = OutputLayout(config.output)
    example_gen = _example_gen(config)
    statistics_gen = tfx.components.StatisticsGen(
        examples=example_gen.outputs["examples"], stats_options=_statistics_options()
    )
    schema = CuratedSchemaGen((config.schema_dir or SCHEMA_DIR) / SCHEMA_FILE)
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"]
    )
    schema_gate = SchemaGate(
        anomalies=validator.outputs["anomalies"],
        code_digest=code_digest("components/schema_gate"),
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="models.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(
            analyze=[contract.SPLIT_TRAIN], transform=list(contract.SPLITS)
        ),
        disable_statistics=True,
        custom_config={"code_digest": code_digest(*_PREPROCESSING_CODE)},
    )
    transform.add_upstream_node(schema_gate)

    nodes = [example_gen, statistics_gen, schema, validator, schema_gate, transform]
    candidates = {}
    for name in config.backbones:
        branch, candidates[name] = _backbone_branch(
            name, config, weights[name], engine, example_gen, transform, layout
        )
        nodes += branch
    backbones = dict(candidates)
    for kind in config.combined:
        branch, candidates[kind] = _combination_branch(
            kind, config, backbones, example_gen, transform, layout
        )
        nodes += branch
    champion = Champion(
        candidates,
        code_digest=code_digest(*_CHAMPION_CODE),
    )
    nodes += [champion, _pusher(contract.CHAMPION, champion, champion, layout)]
    return tfx.dsl.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=str(layout.artifacts),
        components=nodes,
        enable_cache=config.enable_cache,
        metadata_connection_config=(
            tfx.orchestration.metadata.sqlite_metadata_connection_config(str(layout.metadata))
        ),
        beam_pipeline_args=beam_pipeline_args(config),
    )


def _backbone_branch(
    name: str,
    config: PipelineConfig,
    weights: WeightsSource,
    engine: ResolvedEngine,
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    layout: OutputLayout,
) -> tuple[list[tfx.dsl.components.BaseNode], Candidate]:
    """The nodes of one backbone, from its weights to its pusher."""
    params = config.training_for(name)
    boundaries, taps = _cached(name, config, params)
    backbone = PretrainedBackbone(
        backbone=name,
        weights_path=str(weights.path) if weights.path else None,
        weights_label=weights.label,
        weights_sha256=weights.sha256,
        seed=config.seed,
        code_digest=code_digest(
            *_BACKBONE_CODE, "models/pretrained.py", "components/pretrained_backbone"
        ),
    ).with_id(f"PretrainedBackbone.{name}")
    featurizer = Featurizer(
        examples=transform.outputs["transformed_examples"],
        model=backbone.outputs["model"],
        backbone=name,
        boundaries=boundaries,
        taps=taps,
        scaling=params.scaling,
        views=params.training_views,
        engine=engine.name,
        engine_version=engine.version,
        code_digest=code_digest(
            *_PREPROCESSING_CODE, *_BACKBONE_CODE, *_FEATURE_CODE, "components/featurizer"
        ),
    ).with_id(f"Featurizer.{name}")
    tuning = _tuning(name, config, params, featurizer, backbone)
    trainer = tfx.components.Trainer(
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
            "seed": config.seed,
            "training": params.model_dump(mode="json"),
            "code_digest": code_digest("models", "schema/contract.py"),
        },
    ).with_id(f"Trainer.{name}")
    behind, candidate = _verdict_branch(name, config, example_gen, trainer, layout)
    return [backbone, featurizer, *tuning, trainer, *behind], candidate


def _cached(
    name: str, config: PipelineConfig, params: TrainingParams
) -> tuple[Sequence[str], Sequence[str]]:
    """The boundaries and taps for which features are computed.

    Another kind of head costs no features, since the taps of both are there.
    """
    row = get_backbone(name)
    taps = taps_of_either_head(params, row)
    if config.tuning.mode == "off":
        return [params.boundary], taps
    return config.tuning.boundaries_of(row), taps


def _tuning(
    name: str,
    config: PipelineConfig,
    params: TrainingParams,
    featurizer: Featurizer,
    backbone: PretrainedBackbone,
) -> list[tfx.dsl.components.BaseNode]:
    """The node whose BEST_HYPERPARAMETERS the Trainer takes, where there is one."""
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
            "code_digest": code_digest("models", "schema/contract.py"),
        },
    )
    return [tuner.with_id(tuner_id(name))]


def _combination_branch(
    kind: Combining,
    config: PipelineConfig,
    backbones: Mapping[str, Candidate],
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    layout: OutputLayout,
) -> tuple[list[tfx.dsl.components.BaseNode], Candidate]:
    """The nodes of an ensemble or a cascade of the backbones' models."""
    combiner = ModelCombiner(
        kind=kind,
        models={name: backbone.model for name, backbone in backbones.items()},
        runs={name: backbone.model_run for name, backbone in backbones.items()},
        transform_graph=transform.outputs["transform_graph"],
        classes=[c.name for c in config.data.classes],
        abstain_accuracy=config.abstain_accuracy,
        code_digest=code_digest(*_COMBINATION_CODE),
    ).with_id(f"Combiner.{kind}")
    behind, candidate = _verdict_branch(kind, config, example_gen, combiner, layout)
    return [combiner, *behind], candidate


def _verdict_branch(
    name: str,
    config: PipelineConfig,
    example_gen: RadiographExampleGen,
    model_from: tfx.dsl.components.BaseNode,
    layout: OutputLayout,
) -> tuple[list[tfx.dsl.components.BaseNode], Candidate]:
    """What stands behind every model: baseline, evaluation, pusher."""
    evaluator, resolver = _evaluation(name, config, example_gen, model_from)
    infra = infra_validation(name, config.infra_validation, example_gen, model_from)
    infra_blessing = infra.outputs["blessing"] if infra else None
    pusher = _pusher(name, model_from, evaluator, layout, infra_blessing)
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


def _pusher(
    name: str,
    model_from: tfx.dsl.components.BaseNode,
    blessing_from: tfx.dsl.components.BaseNode,
    layout: OutputLayout,
    infra_blessing: tfx.types.BaseChannel | None = None,
) -> ServingPusher:
    return ServingPusher(
        model=model_from.outputs["model"],
        model_blessing=blessing_from.outputs["blessing"],
        infra_blessing=infra_blessing,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=str(layout.serving / name)
            )
        ),
    ).with_id(f"Pusher.{name}")


def _example_gen(config: PipelineConfig) -> RadiographExampleGen:
    data = config.data
    return RadiographExampleGen(
        data_dir=str(data.dir.resolve()),
        metadata_csv=str(data.metadata.resolve()) if data.metadata else None,
        classes=[{"name": c.name, "folders": c.folders} for c in data.classes],
        seed=config.seed,
        limits={
            "max_bad_fraction": data.max_bad_fraction,
            "max_pixels": data.max_pixels,
            "min_side": data.min_side,
        },
        test_fraction=str(data.test_fraction),
        eval_fraction=str(data.eval_fraction),
        code_digest=code_digest("components/radiograph_example_gen", "schema/contract.py"),
    )


def _statistics_options() -> tfdv.StatsOptions:
    """Statistics over everything but the pixels, in memory that doesn't grow with the data.

    TFDV collects record batches until it has `desired_batch_size` images (1,000 by
    default), in each of 128 accumulators. The batches lack the pixels by then but keep them
    alive, since Arrow imports a batch from C++ as one allocation. A size of 1 hands every
    batch on as it comes; the batches themselves are as large as before.
    """
    return tfdv.StatsOptions(feature_allowlist=_statistics_features(), desired_batch_size=1)


def _statistics_features() -> list[str]:
    """Everything but the pixels."""
    return [
        contract.LABEL,
        contract.LABEL_TEXT,
        contract.PATH,
        contract.SHA256,
        contract.WIDTH,
        contract.HEIGHT,
        contract.BYTES,
        contract.MEAN,
        contract.STD,
        contract.ENTROPY,
        *contract.METADATA_TEXT_COLUMNS.values(),
        *contract.METADATA_NUMBER_COLUMNS.values(),
    ]
