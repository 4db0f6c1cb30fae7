"""Columns of the table in a SavedModel's signatures: optional, spread over the batch, checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import tensorflow as tf

from models.lending import read_saved_model
from models.table_values import missing_value
from schema import contract
from schema.inputs import Input
from schema.table import NUMERIC, TableColumn, to_json

# What only holds for the file as TensorFlow wrote it; servers go without.
_FINGERPRINT: Final = "fingerprint.pb"


def missing(column: TableColumn) -> np.ndarray:
    """Return what stands for a missing value in a signature: NaN, or no letter, [1]."""
    return np.array([missing_value(column)], np.float32 if column.kind == NUMERIC else np.object_)


def spread(column: TableColumn, values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Give each row its value: a signature's default is one row.

    Args:
        column: whose values.
        values: [1] or [size].
        size: of the batch, a scalar.

    Returns:
        [size].

    Raises:
        tf.errors.InvalidArgumentError: once it runs, where there are other numbers of values.
    """
    count = tf.shape(values)[0]
    with tf.control_dependencies(
        [
            tf.debugging.Assert(
                (count == 1) | (count == size),
                [f"{column.name}: there must be one value, or one a row; there are", count],
            )
        ]
    ):
        return tf.broadcast_to(values, [size])


def sparse(column: TableColumn, values: tf.Tensor) -> tf.SparseTensor:
    """Turn a signature's values into what Transform reads of the examples.

    Args:
        column: whose values.
        values: [batch]; NaN or "" where one is missing.

    Raises:
        tf.errors.InvalidArgumentError: once it runs, where a number is beyond the column's range.
    """
    if column.kind != NUMERIC:
        there = values != b""
    else:
        values = _checked(column, values)
        there = ~tf.math.is_nan(values)
    rows = tf.where(there)
    return tf.SparseTensor(
        tf.pad(rows, [[0, 0], [0, 1]]),
        tf.boolean_mask(values, there),
        tf.stack([tf.size(values, tf.int64), tf.constant(1, tf.int64)]),
    )


def _checked(column: TableColumn, values: tf.Tensor) -> tf.Tensor:
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    beyond = tf.math.is_finite(values) & ((values < low) | (values > high))
    if column.low is None and column.high is None:
        return values
    unit = f" {column.unit}" if column.unit else ""
    said = f"{column.name} is not within {low:g} to {high:g}{unit}: a wrong value, or another unit:"
    right = tf.debugging.Assert(~tf.reduce_any(beyond), [said, tf.boolean_mask(values, beyond)[:1]])
    with tf.control_dependencies([right]):
        return tf.identity(values)


def nothing(each: Input, size: tf.Tensor) -> tf.Tensor:
    """Return what Transform makes of a column that is missing everywhere, float32 [size, width]."""
    return tf.zeros([size, *each.transformed.shape])


def write_defaults(directory: str, optional: Mapping[str, Iterable[TableColumn]]) -> None:
    """Say in a SavedModel which inputs of its signatures may be left out, and what counts then.

    Servers read it from the SignatureDef (`defaults`); TensorFlow Serving's gRPC API does.

    Args:
        directory: of the SavedModel.
        optional: signature -> its columns, with the default `missing`.
    """
    model = read_saved_model(directory)
    (meta,) = model.meta_graphs
    for name, columns in optional.items():
        for column in columns:
            default = tf.make_tensor_proto(missing(column))
            meta.signature_def[name].defaults[column.name].CopyFrom(default)
    path = os.path.join(directory, contract.SAVED_MODEL_FILE)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    fingerprint = os.path.join(directory, _FINGERPRINT)
    if tf.io.gfile.exists(fingerprint):
        tf.io.gfile.remove(fingerprint)


def write_columns(directory: str, columns: Iterable[TableColumn]) -> None:
    """Put the columns' configuration beside a model, for who asks it by the table's own names.

    Args:
        directory: of the SavedModel.
        columns: that it takes.
    """
    path = os.path.join(directory, contract.TABLE_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(f"{to_json(columns)}\n")
