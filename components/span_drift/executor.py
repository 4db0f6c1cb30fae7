"""Computes TFDV's statistics of two spans, and the distances between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import tensorflow_data_validation as tfdv
from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from common.errors import InputError
from components.radiograph_example_gen.manifest import read_summary
from components.radiograph_example_gen.span_facts import is_number, read_span_facts
from components.report.drift import distances
from components.span_drift.artifact import write_drift
from schema import contract

MANIFEST: Final = "manifest"
DRIFT: Final = "drift"
LIMIT: Final = "max_drift"

Facts = Mapping[str, Sequence[str]]


class Executor(base_executor.BaseExecutor):
    """The executor: it writes the distances, and raises where one is beyond the limit."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Compare the last two spans.

        Raises:
            InputError: names each feature beyond the limit, and how far it is.
        """
        uri = artifact_utils.get_single_uri(input_dict[MANIFEST])
        found = measure(uri, exec_properties.get(LIMIT))
        logging.info("Span %(span)s against %(previous)s: %(features)s", found)
        write_drift(artifact_utils.get_single_uri(output_dict[DRIFT]), found)
        check(found)


def measure(manifest_uri: str, limit: float | None) -> dict[str, Any]:
    """Compute the content of `drift.json` (see `SpanDriftReport`).

    Args:
        manifest_uri: RadiographExampleGen's `manifest`.
        limit: `data.max_drift`.
    """
    facts = read_span_facts(manifest_uri)
    number = read_summary(manifest_uri)["spans"][-1]["number"]
    now = facts.pop(number, {})
    previous = max(facts, default=None)
    if not now or previous is None:
        return {"span": number, "previous": None, "images": [], "limit": limit, "features": []}
    before = facts[previous]
    return {
        "span": number,
        "previous": previous,
        "images": [_count(now), _count(before)],
        "limit": limit,
        "features": distances(_statistics(now), _statistics(before), _schema(now)),
    }


def check(found: Mapping[str, Any]) -> None:
    """Stop where a limit is exceeded.

    Args:
        found: what `measure` returned.

    Raises:
        InputError: names each feature beyond the limit, and how far it is.
    """
    limit = found["limit"]
    beyond = [row for row in found["features"] if limit is not None and row["value"] > limit]
    if not beyond:
        return
    said = "\n  ".join(f"{row['feature']}: {row['value']:.3f} ({row['measure']})" for row in beyond)
    raise InputError(
        f"the images drift: span {found['span']} is further from span {found['previous']} than "
        f"data.max_drift = {limit:g} in\n  {said}\nLook at how its images were taken and "
        "exported. If they are right, raise the limit; else mend them, or stop before them with "
        "data.span."
    )


def _count(facts: Facts) -> int:
    return len(next(iter(facts.values())))


def _statistics(facts: Facts) -> statistics_pb2.DatasetFeatureStatisticsList:
    numbers = {
        name: pd.to_numeric(pd.Series(cells).replace("", None))
        for name, cells in facts.items()
        if is_number(name)
    }
    # float for all, so that both spans have one type; without a value TFDV infers none.
    known = {name: each.astype("float32") for name, each in numbers.items() if each.notna().any()}
    texts = {
        name: [cell or contract.UNKNOWN for cell in cells]
        for name, cells in facts.items()
        if not is_number(name)
    }
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame({**known, **texts}))


def _schema(facts: Facts) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in facts:
        schema.feature.add(
            name=name, type=schema_pb2.FLOAT if is_number(name) else schema_pb2.BYTES
        )
    return schema
