"""The slices of the test split by the columns that models take (`data.features`).

TFMA slices by values alone. So each example says of each column in which part of it the image is:
of numbers in which quarter of the training split's, of words which of its most frequent ones, of
sentences whether there are any.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.table_values import Value
from schema.table import CATEGORICAL, NUMERIC, TableColumn

MISSING: Final = "missing"
THERE: Final = "there"
OTHER: Final = "other"
_QUARTERS: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Slicing:
    """The parts of each column, of what the training split holds.

    Attributes:
        columns: that models take.
        ends: numeric column -> the ends of its quarters but the last, rising.
        words: categorical column -> its most frequent words, in small letters.
    """

    columns: tuple[TableColumn, ...]
    ends: Mapping[str, tuple[float, ...]]
    words: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, columns: Sequence[TableColumn], training: Iterable[Mapping[str, Value]]) -> Slicing:
        """Find the parts.

        Args:
            columns: as the configuration has them.
            training: values of each image of the training split, by the column's name.
        """
        rows = list(training)
        ends, words = {}, {}
        for column in columns:
            values = [row[column.name] for row in rows if column.name in row]
            if column.kind == NUMERIC:
                ends[column.name] = _ends([v for v in values if isinstance(v, float)])
            elif column.kind == CATEGORICAL:
                counts = Counter(_word(value) for value in values)
                first = sorted(counts, key=lambda word: (-counts[word], word))
                words[column.name] = frozenset(first[: column.values])
        return cls(tuple(columns), ends, words)

    def slices_of(self, values: Mapping[str, Value]) -> dict[str, str]:
        """Say in which part of each column an image is.

        Args:
            values: of the image, where there are some.
        """
        return {
            column.name: self._slice(column, values.get(column.name)) for column in self.columns
        }

    def _slice(self, column: TableColumn, value: Value | None) -> str:
        if value is None:
            return MISSING
        if isinstance(value, float):
            return _quarter(value, self.ends.get(column.name, ()))
        if column.kind == CATEGORICAL:
            word = _word(value)
            return word if word in self.words[column.name] else OTHER
        return THERE


def _ends(values: Sequence[float]) -> tuple[float, ...]:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ()
    # Each is a value that was measured: people know it.
    found = np.quantile(finite, _QUARTERS, method="inverted_cdf").tolist()
    return tuple(sorted({end for end in found if end < max(finite)}))


def _quarter(value: float, ends: Sequence[float]) -> str:
    place = bisect_left(ends, value)
    if not ends:
        return THERE
    if place == 0:
        return f"up to {ends[0]:g}"
    if place == len(ends):
        return f"above {ends[-1]:g}"
    return f"above {ends[place - 1]:g}, up to {ends[place]:g}"


def _word(value: Value) -> str:
    return str(value).strip().lower()
