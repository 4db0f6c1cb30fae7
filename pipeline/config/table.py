"""The configuration of the models that take the table. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import field_validator

from models.joint_params import JointParams

TableKind = Literal["table", "joint"]
TABLE_KINDS: Final[tuple[TableKind, ...]] = ("table", "joint")


class TableConfig(JointParams):
    """The models that take columns of the table, where `data.features` names some.

    Attributes:
        models: which are trained: `table`, on the table alone, and `joint`, on the table beside
            the image of all backbones.
        l2: lambda of the penalty of the head on image and table (`head.l2`).
        table_l2: the same of the head on the table alone, which has few channels.
        table_weight: what numeric and categorical columns count for together, where the image
            counts for 1.
        text_weight: the same of the columns of text.
        withheld: `joint` is fitted to each image several times, with all that is known of it, and
            with some withheld (table, text or image); what the latter count for together, 0..1.
    """

    models: tuple[TableKind, ...] = TABLE_KINDS

    @field_validator("models")
    @classmethod
    def _check_models(cls, kinds: tuple[TableKind, ...]) -> tuple[TableKind, ...]:
        if len(set(kinds)) != len(kinds):
            raise ValueError("each at most once")
        return kinds

    @property
    def recipe(self) -> JointParams:
        """Settings of the heads' fit."""
        return JointParams(**self.model_dump(exclude={"models"}))
