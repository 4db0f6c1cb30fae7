"""The table's cells as the examples hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils

from components.examples import read_examples
from schema import contract
from schema.table import NUMERIC, TableColumn


def read_cells(
    examples: types.Artifact, columns: Sequence[TableColumn]
) -> tuple[dict[str, list[Any]], np.ndarray, list[str]]:
    """Read the columns of all splits.

    Args:
        examples: RadiographExampleGen's.
        columns: of the table.

    Returns:
        Column's name -> its values (see `table_shortcuts.measure`); labels int64 [images]; and
        groups.
    """
    cells: dict[str, list[Any]] = {column.name: [] for column in columns}
    labels, groups = [], []
    for split in contract.SPLITS:
        for example in read_examples(artifact_utils.get_split_uri([examples], split)):
            feature = example.features.feature
            labels.append(feature[contract.LABEL].int64_list.value[0])
            groups.append(feature[contract.GROUP].bytes_list.value[0].decode())
            for column in columns:
                cells[column.name].append(_cell(column, feature))
    return cells, np.asarray(labels, np.int64), groups


def _cell(column: TableColumn, feature: Any) -> float | str:
    given: tf.train.Feature | None = feature.get(column.raw)
    if column.kind == NUMERIC:
        return given.float_list.value[0] if given and given.float_list.value else math.nan
    return given.bytes_list.value[0].decode() if given and given.bytes_list.value else ""
