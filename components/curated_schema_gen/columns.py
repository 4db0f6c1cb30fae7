"""Columns of the table in the schema: type, range and unit of each."""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow_metadata.proto.v0 import schema_pb2

from schema.table import NUMERIC, TableColumn


def add_columns(schema: schema_pb2.Schema, table: Iterable[TableColumn]) -> None:
    """Add what a schema lacks of the columns that models take.

    A value may be missing in any example. A range is that of the finite numbers, which stand apart:
    TFDV takes an infinity, which is a number beyond a detection limit, for one out of range.

    Args:
        schema: changed in place; features that it has already are left as they are.
        table: the columns.
    """
    known = {feature.name for feature in schema.feature}
    for column in table:
        names = [column.raw, *([column.finite] if column.kind == NUMERIC else [])]
        for name in names:
            if name not in known:
                schema.feature.append(_feature(column, name))
        tensors = schema.tensor_representation_group[""].tensor_representation
        for name in names:
            if name not in tensors:
                tensors[name].varlen_sparse_tensor.column_name = name


def _feature(column: TableColumn, name: str) -> schema_pb2.Feature:
    feature = schema_pb2.Feature(name=name)
    feature.type = schema_pb2.FLOAT if column.kind == NUMERIC else schema_pb2.BYTES
    feature.value_count.min = feature.value_count.max = 1
    feature.annotation.comment.append(f"column {column.column!r} of the table")
    if column.unit:
        feature.annotation.comment.append(f"unit: {column.unit}")
    for end in ("low", "high"):
        value = getattr(column, end)
        if value is not None:
            setattr(feature.float_domain, {"low": "min", "high": "max"}[end], value)
    return feature
