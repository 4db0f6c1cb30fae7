"""The settings, checked, by which a head on the table is fitted. Imports no TensorFlow."""

from __future__ import annotations

from pydantic import Field

from common.strict import Strict


class JointParams(Strict):
    """Settings of a head on the table, alone or beside the image.

    Attributes:
        l2: lambda of the penalty of the head on image and table (`head.l2`).
        table_l2: the same of the head on the table alone, which has few channels.
        table_weight: what the table's columns count for together, where the image counts for 1.
        text_weight: the same of the columns of text.
        withheld: how much the rows count, together, from which parts are withheld, 0..1.
    """

    l2: float = Field(1e-4, gt=0.0, le=10.0)
    table_l2: float = Field(1e-3, gt=0.0, le=10.0)
    table_weight: float = Field(0.1, gt=0.0, le=100.0)
    text_weight: float = Field(0.1, gt=0.0, le=100.0)
    withheld: float = Field(0.67, ge=0.0, lt=1.0)
