"""The part of the configuration that says which columns of the table a model takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from common.strict import Strict
from schema.table import TableColumn


class FeatureConfig(Strict):
    """A column of the table that models take beside the image.

    Attributes:
        column: its name in the table, in any case; the feature's own name where null.
        kind: what the cells are: `numeric`, `categorical` (a few words) or `text` (sentences).
        unit: of the numbers, such as mg/l; for people, and in the schema.
        low: the least number that can be true; a cell below stops the run, and is named.
        high: the greatest, likewise.
        detection_low: what a number below the detection limit counts as (`-inf` in the table), and
            any lower number; where null, `-inf` counts as the least of the training split.
        detection_high: the same for `inf`, and the greatest.
        impute: what a missing number counts as, `median` or `mean` of the training split.
        presence: give the model a further number that says whether there is a value. It tells who
            was measured, which may tell the class.
        values: how many different words of a categorical column are known, the most frequent first;
            all others are one more.
        buckets: to how many numbers the words of a text are hashed.
        ngrams: how many words in a row are hashed together, the least and the most.
        mask: words, or words in a row, that are taken out of a text before anything is made of it,
            in any case: those that name the class.
        no_outcome: the column is known before the question is asked, though its name sounds like an
            outcome, an id or a source; without it such a column is refused.
    """

    column: str | None = Field(None, min_length=1)
    kind: Literal["numeric", "categorical", "text"]
    unit: str = ""
    low: float | None = None
    high: float | None = None
    detection_low: float | None = None
    detection_high: float | None = None
    impute: Literal["median", "mean"] = "median"
    presence: bool = False
    values: int = Field(16, ge=1, le=1000)
    buckets: int = Field(256, ge=2, le=65536)
    ngrams: tuple[int, int] = (1, 2)
    mask: tuple[str, ...] = ()
    no_outcome: bool = False

    @field_validator("mask")
    @classmethod
    def _check_mask(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not any(sign.isalnum() for sign in word):
                raise ValueError(f"{word!r} holds neither a letter nor a digit")
        return words

    def as_column(self, name: str) -> TableColumn:
        """Return it as all nodes know it.

        Args:
            name: of the feature.

        Raises:
            InputError: a field is not as it must be for this kind.
        """
        fields = self.model_dump(exclude={"no_outcome"})
        fields["column"] = (self.column or name).strip()
        return TableColumn(name=name, **fields)
