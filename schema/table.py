"""Columns of the table that a model takes beside the image.

One `TableColumn` says all that is known of a column by configuration: every node that reads or
writes it gets it as JSON, in a property called `table`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from common.errors import InputError
from schema import contract

Kind = Literal["numeric", "categorical", "text"]
Impute = Literal["median", "mean"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
NUMERIC: Final = "numeric"
CATEGORICAL: Final = "categorical"
TEXT: Final = "text"

# The nodes' property that holds the columns.
TABLE_PROPERTY: Final = "table"
# Of the values in the examples, and of what Transform makes of them. The latter has no "/": a
# tap's name becomes that of a Keras layer.
RAW_PREFIX: Final = "table/"
# The numbers of a column that are finite, once more: what statistics and ranges can be had of.
FINITE_PREFIX: Final = "table_finite/"
TRANSFORMED_PREFIX: Final = "table_"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
# What a signature's other inputs are called.
_TAKEN: Final = (contract.INPUT_IMAGES, contract.INPUT_EXAMPLES)
_OF_NUMBERS: Final = ("unit", "low", "high", "detection_low", "detection_high", "impute")
_OF_TEXT: Final = ("buckets", "ngrams", "mask")


@dataclass(frozen=True)
class TableColumn:
    """One column of the table, as a model takes it.

    Attributes:
        name: what it is called in examples, signatures and reports.
        column: what it is called in the table, in any case.
        kind: "numeric", "categorical" or "text".
        unit: of the numbers, such as mg/l; empty where they have none.
        low: the least number that can be true; None: any.
        high: the greatest.
        detection_low: what a number below the detection limit, `-inf`, counts as; None: as the
            least that was measured in the training split.
        detection_high: the same for `inf`, and the greatest.
        impute: what a missing number counts as, "median" or "mean" of the training split.
        presence: whether the model is told, by a further number, that there is a value.
        values: how many different values of a categorical column are known, the most frequent
            ones; all others are one more.
        buckets: to how many numbers the words of a text are hashed.
        ngrams: how many words in a row count as one, the least and the most.
        mask: words that are taken out of a text, in any case.

    Raises:
        InputError: a field is not as it must be; the message names the column and the field.
    """

    name: str
    column: str
    kind: Kind
    unit: str = ""
    low: float | None = None
    high: float | None = None
    detection_low: float | None = None
    detection_high: float | None = None
    impute: Impute = "median"
    presence: bool = False
    values: int = 16
    buckets: int = 256
    ngrams: tuple[int, int] = (1, 2)
    mask: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take lists for tuples, as JSON has them, and refuse what can't be."""
        object.__setattr__(self, "ngrams", tuple(self.ngrams))
        object.__setattr__(self, "mask", tuple(self.mask))
        if wrong := self._mistake():
            raise InputError(f"column {self.name!r} of the table: {wrong}")

    def _mistake(self) -> str:
        if not _NAME.fullmatch(self.name):
            return "a name is a small letter, then small letters, digits and _"
        if self.name in _TAKEN:
            return f"a model's input has this name already; choose another than {self.name}"
        if not self.column.strip():
            return "column is empty; give the column's name in the table"
        if self.kind not in KINDS:
            return f"kind is {self.kind!r}; choose one of {', '.join(KINDS)}"
        return self._foreign_field() or self._out_of_range()

    def _foreign_field(self) -> str:
        """Say which field is set that another kind of column has."""
        foreign: list[str] = []
        if self.kind != NUMERIC:
            foreign += _OF_NUMBERS
        if self.kind != CATEGORICAL:
            foreign.append("values")
        if self.kind != TEXT:
            foreign += _OF_TEXT
        for field in dataclasses.fields(self):
            if field.name in foreign and getattr(self, field.name) != field.default:
                return f"{field.name} is of no use where kind is {self.kind}; leave it out"
        return ""

    def _out_of_range(self) -> str:
        for field in ("low", "high", "detection_low", "detection_high"):
            value = getattr(self, field)
            if value is not None and not math.isfinite(value):
                return f"{field} is {value}; give a number, or leave it out"
        for least, most in (("low", "high"), ("detection_low", "detection_high")):
            ends = getattr(self, least), getattr(self, most)
            if None not in ends and ends[0] >= ends[1]:
                return f"{least} is {ends[0]:g}, and {most} {ends[1]:g}; {least} must be less"
        if self.impute not in get_args(Impute):
            return f"impute is {self.impute!r}; choose one of {', '.join(get_args(Impute))}"
        if self.values < 1:
            return f"values is {self.values}; at least 1 is needed"
        if self.buckets < 2:
            return f"buckets is {self.buckets}; at least 2 are needed"
        if len(self.ngrams) != 2 or not 1 <= self.ngrams[0] <= self.ngrams[1]:
            return f"ngrams is {list(self.ngrams)}; give the least and the most, such as [1, 2]"
        return ""

    @property
    def raw(self) -> str:
        """The name of its values in the examples."""
        return f"{RAW_PREFIX}{self.name}"

    @property
    def finite(self) -> str:
        """The name of its finite numbers in the examples, beside all values."""
        return f"{FINITE_PREFIX}{self.name}"

    @property
    def transformed(self) -> str:
        """The name of what Transform makes of it, and of the tap."""
        return f"{TRANSFORMED_PREFIX}{self.name}"

    @property
    def dtype(self) -> str:
        """TensorFlow's name of the type of its values in the examples."""
        return "float32" if self.kind == NUMERIC else "string"

    @property
    def width(self) -> int:
        """The count of numbers that Transform makes of a value."""
        widths = {NUMERIC: 1, CATEGORICAL: self.values + 1, TEXT: self.buckets}
        return widths[self.kind] + self.presence


def to_json(columns: Iterable[TableColumn]) -> str | None:
    """Return columns as the JSON text of a node's property, None where there are none.

    Args:
        columns: which; `from_json` reads them back.
    """
    documents = [
        {
            field.name: getattr(column, field.name)
            for field in dataclasses.fields(column)
            if getattr(column, field.name) != field.default
        }
        for column in columns
    ]
    return json.dumps(documents, sort_keys=True) if documents else None


def from_json(text: str | None) -> tuple[TableColumn, ...]:
    """Read columns from a node's property.

    Args:
        text: of `to_json`; None or empty for no column.

    Raises:
        InputError: it is no list of columns.
    """
    if not text:
        return ()
    try:
        documents: list[dict[str, Any]] = json.loads(text)
        columns = tuple(TableColumn(**document) for document in documents)
    except (TypeError, ValueError) as error:
        raise InputError(f"the columns of the table can't be read: {error}") from error
    refuse_doubles(columns)
    return columns


def refuse_doubles(columns: Iterable[TableColumn]) -> None:
    """Refuse two columns of one name.

    Raises:
        InputError: there are some; the message names the first.
    """
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            raise InputError(f"the table has two columns of the name {column.name!r}")
        seen.add(column.name)
