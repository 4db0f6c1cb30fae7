"""The configuration of the audit. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from common.strict import Strict


class AuditConfig(Strict):
    """The audit of the split, and the limits that stop a push.

    Attributes:
        enabled: whether the node ShortcutAudit is there.
        min_correlation: of the fine structure of two images that count as near-duplicates; above
            0.98 no better fit is looked for, so nothing higher can be asked for.
        max_duplicates_across_splits: more near-duplicates in two splits, and nothing is pushed.
        max_patients_across_splits: more patients in two splits, and nothing is pushed.
        max_shortcut_accuracy: a higher accuracy on the test split, from all metadata, from
            border and corners, or from the image without its lungs, and nothing is pushed.
        max_table_auc: where models take columns of the table (`data.features`): a higher AUC out of
            fold, from which values are there, from how many images a patient has, or from one
            column or its words alone, and nothing is pushed.
    """

    enabled: bool = True
    min_correlation: float = Field(0.75, gt=0.0, le=0.98)
    max_duplicates_across_splits: int | None = Field(None, ge=0)
    max_patients_across_splits: int | None = Field(None, ge=0)
    max_shortcut_accuracy: float | None = Field(None, ge=0.0, le=1.0)
    max_table_auc: float | None = Field(None, ge=0.0, le=1.0)

    @property
    def limits(self) -> dict[str, float | int | None]:
        """The limits, by their names; null asks for nothing."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name.startswith("max_")
        }

    @property
    def blocks(self) -> bool:
        """True where any limit is set, so that the Pushers have to ask."""
        return any(limit is not None for limit in self.limits.values())

    @model_validator(mode="after")
    def _check_enabled(self) -> Self:
        if self.blocks and not self.enabled:
            given = [name for name, limit in self.limits.items() if limit is not None]
            raise ValueError(f"{', '.join(given)}: nobody looks with enabled: false")
        return self
