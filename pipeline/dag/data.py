"""The first nodes: from images to examples and their statistics."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow_data_validation as tfdv

from common.code_digest import code_digest
from common.errors import InputError
from components.radiograph_example_gen import RadiographExampleGen
from components.span_drift import SpanDrift
from pipeline.config.data import SPAN
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.dag.platforms import Platform
from pipeline.resolve.spans import ResolvedSpans
from schema import contract
from schema.table import NUMERIC, TEXT, TableColumn


def build_example_gen(
    config: PipelineConfig, platform: Platform, spans: ResolvedSpans | None
) -> RadiographExampleGen:
    """Build the first node.

    Raises:
        InputError: `data.dir` has `{SPAN}`, and the spans that there are were not looked for.
    """
    data = config.data
    if data.in_spans and spans is None:
        raise InputError(f"data.dir: {SPAN} stands for folders that nobody has looked for.")
    shared = data.metadata if SPAN not in str(data.metadata) else None
    return RadiographExampleGen(
        data_dir=str(spans.root if spans else data.dir.resolve()),
        metadata_csv=str(shared.resolve()) if shared else None,
        classes=data.class_specs,
        seed=config.seed,
        limits=data.limits,
        test_fraction=str(data.test_fraction),
        eval_fraction=str(data.eval_fraction),
        columns=data.slice_columns or (),
        spans=spans.folders if spans else (),
        splits_dir=platform.pushed if spans else None,
        follow_links=data.follow_links,
        layout=data.how_laid_out,
        table=data.table,
        code_digest=code_digest(
            "components.radiograph_example_gen.driver", "components.radiograph_example_gen.executor"
        ),
    )


def build_span_drift(config: PipelineConfig, example_gen: RadiographExampleGen) -> SpanDrift | None:
    """Build the node that compares the last two spans, where there are spans."""
    if not config.data.in_spans:
        return None
    return SpanDrift(
        manifest=example_gen.outputs["manifest"],
        max_drift=config.data.max_drift,
        code_digest=code_digest("components.span_drift.executor"),
    )


def statistics_options(table: Sequence[TableColumn] = ()) -> tfdv.StatsOptions:
    """Ask for statistics over all the schema knows but the pixels, in memory that doesn't grow.

    TFDV collects record batches until it has `desired_batch_size` images (1,000 by
    default), in each of 128 accumulators. The batches lack the pixels by then but keep them
    alive, since Arrow imports a batch from C++ as one allocation. A size of 1 hands every
    batch on as it comes; the batches themselves are as large as before.

    Args:
        table: columns that models take. Of a text there are no statistics, since these would hold
            its words, and lie beside what is pushed.
    """
    of_table = [
        each.finite if each.kind == NUMERIC else each.raw for each in table if each.kind != TEXT
    ]
    features = [*_statistics_features(), *of_table]
    return tfdv.StatsOptions(feature_allowlist=features, desired_batch_size=1)


def _statistics_features() -> list[str]:
    """List everything but the pixels, and but further columns, which the schema doesn't know."""
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
        contract.GROUP,
        *contract.METADATA_TEXT_COLUMNS.values(),
        *contract.METADATA_NUMBER_COLUMNS.values(),
    ]
