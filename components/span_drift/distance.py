"""TFDV's distances between two sets of images whose facts are known, without the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.radiograph_example_gen.span_facts import is_number
from components.report.drift import distances
from schema import contract

# Feature of `span_facts` -> a cell an image; of what isn't known, "" for a number, None for a text.
Facts = Mapping[str, Sequence[str | None]]


def distances_of_facts(now: Facts, before: Facts) -> list[dict[str, Any]]:
    """Compute how far two sets of images are apart.

    Args:
        now: facts of the images; features may be missing.
        before: those of the others, of the same features.

    Returns:
        Rows of `components.report.drift.distances`.
    """
    return distances(_statistics(now), _statistics(before), _schema(now))


def _statistics(facts: Facts) -> statistics_pb2.DatasetFeatureStatisticsList:
    numbers = {
        name: pd.to_numeric(pd.Series(cells).replace("", None))
        for name, cells in facts.items()
        if is_number(name)
    }
    # float for all, so that both sets have one type; without a value TFDV infers none.
    known = {name: each.astype("float32") for name, each in numbers.items() if each.notna().any()}
    texts = {
        name: [contract.UNKNOWN if cell == "" else cell for cell in cells]
        for name, cells in facts.items()
        if not is_number(name)
    }
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame({**known, **texts}))


def _schema(facts: Facts) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in facts:
        kind = schema_pb2.FLOAT if is_number(name) else schema_pb2.BYTES
        schema.feature.add(name=name, type=kind)
    return schema
