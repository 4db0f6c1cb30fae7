"""The meaning of a table's columns, by the names that people give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.radiograph_example_gen.settings import plain
from schema import contract
from schema.column_names import KNOWN_NAMES, normal

# Parts of names that speak of a person, in the languages of many tables.
_PERSON: Final = (
    *("patient", "subject", "person", "participant", "mrn"),
    *("pacien", "pazien", "pasien", "пациент", "患者", "病人", "환자"),
)
# What a column of that kind ends in where it holds ids.
_ID: Final = ("id", "no", "number", "code", "key", "mrn")


@dataclass(frozen=True)
class Columns:
    """The meaning that the columns of a table are taken to have.

    Attributes:
        names: of each column, in their order: ours, or its own in lower case.
        renamed: our name -> the column's own, where they differ in more than case.
        overlooked: columns that look as if they held patients' ids, and are not read as such.
        others: columns that are none of ours.
        header: the table's first line, stripped.
    """

    names: tuple[str, ...]
    renamed: Mapping[str, str]
    overlooked: tuple[str, ...]
    others: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


_PATIENT_NAMES: Final = frozenset(map(normal, KNOWN_NAMES["patient_id"]))


def recognise(header: Sequence[str], named: Mapping[str, str] | None = None) -> Columns:
    """Find out which column is which.

    Args:
        header: the table's first line, stripped.
        named: our name -> the column's, where the configuration says so. A column that has our name
            itself is passed over then; one that isn't there leaves ours out.
    """
    names = [plain(cell) for cell in header]
    bare = [normal(cell) for cell in header]
    renamed = {}
    for ours, theirs in (named or {}).items():
        at = place_of(theirs, header)
        names = ["" if name == ours else name for name in names]
        if at is not None:
            names[at] = ours
            renamed[ours] = header[at]
    for ours, others in KNOWN_NAMES.items():
        if ours in names or ours in (named or {}):
            continue
        for other in (ours, *others):
            if normal(other) in bare and names[bare.index(normal(other))] not in (named or {}):
                place = bare.index(normal(other))
                names[place] = ours
                renamed[ours] = header[place]
                break
    overlooked = [
        cell
        for cell, name in zip(header, names, strict=True)
        if name not in KNOWN_NAMES and _may_be_a_patient(name, known="patient_id" in names)
    ]
    further = [
        cell
        for cell, name in zip(header, names, strict=True)
        if cell and name not in KNOWN_NAMES and name not in contract.LICENCE_COLUMNS
    ]
    return Columns(tuple(names), renamed, tuple(overlooked), tuple(further), tuple(header))


def place_of(name: str, header: Sequence[str]) -> int | None:
    """Find the column that is called so: in any case, else without regard to signs, too.

    Args:
        name: of a column.
        header: the table's first line, stripped.

    Returns:
        Its index; None where there is none.
    """
    for way in (plain, normal):
        names = [way(cell) for cell in header]
        if (wanted := way(name.strip())) in names:
            return names.index(wanted)
    return None


def _may_be_a_patient(name: str, *, known: bool) -> bool:
    bare = normal(name)
    speaks = any(part in bare for part in _PERSON)
    return bare in _PATIENT_NAMES or (speaks and (not known or bare.endswith(_ID)))
