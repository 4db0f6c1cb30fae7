"""The DAG: images -> examples -> features -> models -> verdict -> serving."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.proto import transform_pb2

from components.baseline_resolver import LatestOtherBlessedStrategy
from components.champion import Champion
from components.champion.component import Candidate
from components.curated_schema_gen import CuratedSchemaGen
from components.featurizer import Featurizer
from components.pretrained_backbone import PretrainedBackbone
from components.radiograph_example_gen import RadiographExampleGen
from components.schema_gate import SchemaGate
from components.serving_pusher import ServingPusher
from models.weights import WeightsSource
from pipeline.beam_options import beam_pipeline_args
from pipeline.code_digest import code_digest
from pipeline.config import PipelineConfig
from pipeline.evaluation import eval_config
from pipeline.layout import PIPELINE_NAME, OutputLayout
from schema import SCHEMA_DIR, SCHEMA_FILE, contract

# What the cached results of the nodes depend on; heads and training are not among it, so
# that working on them costs no features.
_PREPROCESSING_CODE = ("models/preprocessing.py", "schema/contract.py")
_BACKBONE_CODE = ("models/backbones.py", "schema/contract.py")
_FEATURE_CODE = ("models/boundary.py", "models/feature_records.py")


def create_pipeline(
    config: PipelineConfig, weights: Mapping[str, WeightsSource]
) -> tfx.dsl.Pipeline:
    """Builds the whole DAG; reads the code (for its digest) and the schema, no data.

    Args:
        config: the checked configuration.
        weights: backbone -> where its weights come from (`pipeline.weights_resolution`).
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
            name, config, weights[name], example_gen, transform, layout
        )
        nodes += branch
    champion = Champion(
        candidates, code_digest=code_digest("components/champion", "schema/contract.py")
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
    example_gen: RadiographExampleGen,
    transform: tfx.components.Transform,
    layout: OutputLayout,
) -> tuple[list[tfx.dsl.components.BaseNode], Candidate]:
    """The nodes of one backbone, from its weights to its pusher."""
    params = config.training_for(name)
    backbone = PretrainedBackbone(
        backbone=name,
        weights_path=str(weights.path) if weights.path else None,
        weights_label=weights.label,
        weights_sha256=weights.sha256,
        seed=config.seed,
        code_digest=code_digest(*_BACKBONE_CODE, "components/pretrained_backbone"),
    ).with_id(f"PretrainedBackbone.{name}")
    featurizer = Featurizer(
        examples=transform.outputs["transformed_examples"],
        model=backbone.outputs["model"],
        backbone=name,
        boundary=params.boundary,
        scaling=params.scaling,
        views=params.views,
        code_digest=code_digest(
            *_PREPROCESSING_CODE, *_BACKBONE_CODE, *_FEATURE_CODE, "components/featurizer"
        ),
    ).with_id(f"Featurizer.{name}")
    trainer = tfx.components.Trainer(
        run_fn="models.training.run_fn",
        examples=featurizer.outputs["features"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=backbone.outputs["model"],
        train_args=tfx.proto.TrainArgs(splits=[contract.SPLIT_TRAIN]),
        eval_args=tfx.proto.EvalArgs(splits=[contract.SPLIT_EVAL]),
        custom_config={
            "backbone": name,
            "classes": [c.name for c in config.data.classes],
            "seed": config.seed,
            "training": params.model_dump(mode="json"),
            "code_digest": code_digest("models", "schema/contract.py"),
        },
    ).with_id(f"Trainer.{name}")
    evaluator, resolver = _evaluation(name, config, example_gen, trainer)
    pusher = _pusher(name, trainer, evaluator, layout)
    return (
        [backbone, featurizer, trainer, resolver, evaluator, pusher],
        Candidate(
            model=trainer.outputs["model"],
            model_run=trainer.outputs["model_run"],
            blessing=evaluator.outputs["blessing"],
        ),
    )


def _evaluation(
    name: str,
    config: PipelineConfig,
    example_gen: RadiographExampleGen,
    trainer: tfx.components.Trainer,
) -> tuple[tfx.components.Evaluator, tfx.dsl.Resolver]:
    resolver = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedStrategy,
        candidate=trainer.outputs["model"],
        # Channels without a run: every run's artifacts of these two nodes. No output_key:
        # with one, `model` gets the same key as `candidate` in the compiled node.
        model=tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.Model,
            producer_component_id=f"Trainer.{name}",
        ),
        model_blessing=tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.ModelBlessing,
            producer_component_id=f"Evaluator.{name}",
        ),
    ).with_id(f"Baseline.{name}")
    against_baseline = config.gate.against_baseline
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        example_splits=[contract.SPLIT_TEST],
        model=trainer.outputs["model"],
        baseline_model=resolver.outputs["model"] if against_baseline else None,
        eval_config=eval_config(
            n_classes=len(config.data.classes),
            min_accuracy=config.gate.min_accuracy,
            against_baseline=against_baseline,
        ),
    ).with_id(f"Evaluator.{name}")
    return evaluator, resolver


def _pusher(
    name: str,
    model_from: tfx.dsl.components.BaseNode,
    blessing_from: tfx.dsl.components.BaseNode,
    layout: OutputLayout,
) -> ServingPusher:
    return ServingPusher(
        model=model_from.outputs["model"],
        model_blessing=blessing_from.outputs["blessing"],
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
