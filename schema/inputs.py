"""A model's inputs: what each is in the examples, behind Transform, and in the signatures.

Whatever reads or writes an input (Transform's graph, Featurizer's records, training, signatures,
InfraCheck) goes through `INPUTS`, so a further input is an entry here, and a function in
`models.preprocessing.MAKERS` where none of those there makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schema import contract
from schema.table import TableColumn


@dataclass(frozen=True)
class Tensor:
    """An input at one stage.

    Attributes:
        name: of the feature.
        dtype: TensorFlow's name of it.
        shape: of one image's value.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        raw: what the examples hold.
        transformed: what Transform hands on; float32 [n] where it goes straight to a head.
        made_by: name of what makes the one from the other, in `models.preprocessing.MAKERS`.
        through_backbone: whether it is what the networks see; else it goes straight to a head.
        served: its name in the signatures.
        column: of the table, where it is one; what is made of it is by its configuration.
    """

    raw: Tensor
    transformed: Tensor
    made_by: str
    through_backbone: bool
    served: str
    column: TableColumn | None = None


IMAGE: Final = Input(
    Tensor(contract.IMAGE, "string"),
    Tensor(contract.TRANSFORMED_IMAGE, "string"),
    made_by="grey_png",
    through_backbone=True,
    served=contract.INPUT_IMAGES,
)
INPUTS: tuple[Input, ...] = (IMAGE,)


def of_columns(columns: Iterable[TableColumn]) -> tuple[Input, ...]:
    """Return columns of the table as a model's inputs, one each, in their order."""
    return tuple(
        Input(
            Tensor(each.raw, each.dtype),
            Tensor(each.transformed, "float32", (each.width,)),
            made_by=f"table_{each.kind}",
            through_backbone=False,
            served=each.name,
            column=each,
        )
        for each in columns
    )


def for_backbones() -> Input:
    """Return the input that goes through a backbone."""
    (one,) = (each for each in INPUTS if each.through_backbone)
    return one


def for_heads() -> tuple[Input, ...]:
    """Return the inputs that go straight to a head."""
    return tuple(each for each in INPUTS if not each.through_backbone)


def transform_reads() -> tuple[str, ...]:
    """Return the names of all that Transform reads: inputs, and what it hands on."""
    return (*(each.raw.name for each in INPUTS), *contract.TRANSFORM_HANDS_ON)
