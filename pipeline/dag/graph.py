"""The DAG: images -> examples -> features -> models -> verdict -> serving."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import v1 as tfx
from tfx.proto import transform_pb2

from common.code_digest import code_digest
from components.champion import Champion
from components.curated_schema_gen import CuratedSchemaGen
from components.schema_gate import SchemaGate
from models.weights import WeightsSource
from pipeline.beam.options import beam_pipeline_args
from pipeline.config.layout import PIPELINE_NAME
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.dag.audit import build_audit
from pipeline.dag.backbone import backbone_branch
from pipeline.dag.combination import combination_branch
from pipeline.dag.data import build_example_gen, build_span_drift, statistics_options
from pipeline.dag.platforms import Platform, local_platform
from pipeline.dag.report import build_report
from pipeline.dag.tabled import table_branch
from pipeline.dag.verdict import build_pusher
from pipeline.resolve.engine import ResolvedEngine
from pipeline.resolve.spans import ResolvedSpans
from schema import SCHEMA_DIR, SCHEMA_FILE, contract
from schema.table import TABLE_PROPERTY, to_json


def create_pipeline(
    config: PipelineConfig,
    weights: Mapping[str, WeightsSource],
    engine: ResolvedEngine,
    platform: Platform | None = None,
    spans: ResolvedSpans | None = None,
) -> tfx.dsl.Pipeline:
    """Build the whole DAG; read the code (for its digest) and the schema, no data.

    Args:
        config: the checked configuration; without `data.slice_columns`
            (`pipeline.resolve.columns`) nothing is sliced by further columns.
        weights: backbone -> where its weights come from (`pipeline.resolve.weights`).
        engine: what runs the frozen networks (`pipeline.resolve.engine`).
        platform: where it will run; on this machine, below `config.output`, where None.
        spans: where `data.dir` has `{SPAN}`, the folders (`pipeline.resolve.spans`).
    """
    platform = platform or local_platform(config)
    example_gen = build_example_gen(config, platform, spans)
    table = config.data.table
    statistics_gen = tfx.components.StatisticsGen(
        examples=example_gen.outputs["examples"], stats_options=statistics_options(table)
    )
    schema = CuratedSchemaGen((config.schema_dir or SCHEMA_DIR) / SCHEMA_FILE, table)
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"]
    )
    schema_gate = SchemaGate(
        anomalies=validator.outputs["anomalies"],
        code_digest=code_digest("components.schema_gate.executor"),
    )
    audit = build_audit(config, example_gen)
    # Asked by the Pushers only where it may say no: else a finding is no reason to push again.
    verdict = audit.outputs["audit"] if audit and config.audit.blocks else None
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="models.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(
            analyze=[contract.SPLIT_TRAIN], transform=list(contract.SPLITS)
        ),
        disable_statistics=True,
        custom_config={
            "code_digest": code_digest("models.preprocessing"),
            **({TABLE_PROPERTY: to_json(table)} if table else {}),
        },
    )
    transform.add_upstream_node(schema_gate)
    span_drift = build_span_drift(config, example_gen)
    if span_drift:
        transform.add_upstream_node(span_drift)

    nodes = [example_gen, statistics_gen, schema, validator, schema_gate]
    nodes += [node for node in (span_drift, audit, transform) if node]
    judged = {}
    for name in config.backbones:
        branch, judged[name] = backbone_branch(
            name, config, weights[name], engine, example_gen, transform, platform, verdict
        )
        nodes += branch
    backbones = dict(judged)
    for kind in config.combined:
        branch, judged[kind] = combination_branch(
            kind, config, backbones, example_gen, transform, engine, platform, verdict
        )
        nodes += branch
    for taking in config.tabled:
        branch, judged[taking] = table_branch(
            taking, config, backbones, example_gen, transform, engine, platform, verdict
        )
        nodes += branch
    champion = Champion(
        {name: model.candidate for name, model in judged.items()},
        prefer=config.champion.prefer,
        code_digest=code_digest("components.champion.executor"),
    )
    nodes += [
        champion,
        build_pusher(
            contract.CHAMPION,
            config.push,
            champion,
            champion,
            platform,
            example_gen.outputs["manifest"],
            statistics=statistics_gen.outputs["statistics"],
            audit=verdict,
        ),
        *build_report(
            config,
            judged,
            champion,
            example_gen,
            statistics_gen,
            schema,
            audit,
            platform,
            span_drift,
        ),
    ]
    return tfx.dsl.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=platform.root,
        components=nodes,
        enable_cache=config.enable_cache,
        metadata_connection_config=platform.metadata,
        beam_pipeline_args=beam_pipeline_args(config),
    )
