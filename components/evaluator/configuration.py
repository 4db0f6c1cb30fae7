"""The part of the configuration that says what a model must reach to be pushed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from common.strict import Strict
from schema import contract

FewPatients = Literal["refuse", "allow"]
REFUSE: Final = "refuse"
# Its field of the gate, and of what a slice is asked by it.
FEW_PATIENTS: Final = "few_patients"


class SliceGateConfig(Strict):
    """The bounds that a model must reach on the test images of a slice.

    Attributes:
        feature: by which the images are told apart: `class`, `sex`, `view`, `source`,
            `age_group`, or a further column in lower case (`data.slice_columns`).
        value: the feature's, which makes the slice; each of its values is a slice of its own
            where null.
        min_accuracy: what each such slice must reach.
        min_wilson_lower: what the lower end of that accuracy's 95 % Wilson interval, over
            patients, must reach.
        min_images: a slice with fewer test images isn't judged.
    """

    feature: str
    value: str | None = None
    min_accuracy: float | None = Field(None, ge=0.0, le=1.0)
    min_wilson_lower: float | None = Field(None, ge=0.0, lt=1.0)
    min_images: int = Field(10, ge=1)

    @field_validator("feature")
    @classmethod
    def _check_feature(cls, feature: str) -> str:
        feature = feature.strip().casefold()
        if not feature or (feature in contract.OWN_COLUMNS and feature not in contract.SLICE_NAMES):
            raise ValueError(
                f"{feature!r} is none of {', '.join(contract.SLICE_NAMES)}, and no further "
                "column of metadata.csv"
            )
        return feature

    @field_validator("value")
    @classmethod
    def _check_value(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError(f"images without one are in the slice {contract.UNKNOWN!r}")
        if value is not None and value != value.strip():
            raise ValueError(f"{value!r}: no blanks around a value")
        return value

    @model_validator(mode="after")
    def _check_asked(self) -> Self:
        if self.min_accuracy is None and self.min_wilson_lower is None:
            raise ValueError("asks for nothing: give min_accuracy, min_wilson_lower or both")
        return self


class GateConfig(Strict):
    """The bounds that a model must reach to be pushed.

    Attributes:
        min_accuracy: what it must reach on the whole test split.
        against_baseline: it must not be worse than the last blessed model of that backbone,
            either.
        min_wilson_lower: what the lower end of the accuracy's 95 % Wilson interval, over
            patients, must reach, which is below 1 even with all images right; not asked for
            where null.
        baseline_significance: "worse" is: significantly so at this level, in McNemar's
            one-sided exact test on the same images. Any lower accuracy where null.
        slices: what it must reach on parts of the test split as well.
        few_patients: what becomes of a model where the test split (or a slice that is asked
            about) has fewer than 100 patients, and several images of one of them. `refuse`: the
            95 % interval over patients has to lie above `min_accuracy`, else they are too few to
            say that it was reached. `allow`: the accuracy alone counts.
    """

    min_accuracy: float = Field(0.90, ge=0.0, le=1.0)
    against_baseline: bool = True
    min_wilson_lower: float | None = Field(None, ge=0.0, lt=1.0)
    baseline_significance: float | None = Field(None, gt=0.0, lt=1.0)
    slices: tuple[SliceGateConfig, ...] = ()
    few_patients: FewPatients = "refuse"

    @field_validator("baseline_significance")
    @classmethod
    def _check_comparison(cls, level: float | None, info: ValidationInfo) -> float | None:
        # Absent where `against_baseline` itself is wrong, which is reported already.
        if level is not None and info.data.get("against_baseline") is False:
            raise ValueError("there is no comparison with against_baseline: false")
        return level

    def unknown_features(self, columns: Collection[str]) -> list[str]:
        """Say what is wrong with the items whose feature is not sliced by.

        Args:
            columns: the further columns that are sliced by, in lower case.

        Returns:
            A sentence an item: its field, and the choices.
        """
        known = (*contract.SLICE_NAMES, *columns)
        return [
            f"gate.slices.{index}.feature: {part.feature!r} is none of {', '.join(known)}; "
            "data.slice_columns names further columns"
            for index, part in enumerate(self.slices)
            if part.feature not in known
        ]
