"""The standard's table of attributes and of what the basic profile does with each.

The table is `actions.tsv`: PS3.15, Table E.1-1. Two of its options are used here: Retain Patient
Characteristics, of which age and sex alone, and Retain Longitudinal Temporal Information with
Modified Dates.
"""

from __future__ import annotations

import csv
import functools
from enum import Enum
from pathlib import Path
from typing import Final

from pydicom.tag import BaseTag, Tag

EDITION: Final = "2024e"
_TABLE: Final = Path(__file__).with_name("actions.tsv")
# Of the characteristics that the option may retain, these; the others go, as without the option.
_RETAINED: Final = frozenset({"PatientAge", "PatientSex"})


class Action(Enum):
    """The treatment of an attribute."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    NEW_UID = "U"
    KEEP = "K"
    SHIFT = "C"


# Where the table leaves the choice to the object's definition, the action that no definition
# forbids: a dummy is allowed where a zero-length value is, and that where nothing has to be.
_STRICTEST: Final = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.NEW_UID,
    "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.NEW_UID,
}


def action_of(tag: BaseTag) -> Action | None:
    """Return what the profile, with its options, does with an attribute; None: it says nothing."""
    if tag.is_private:
        return Action.REMOVE
    if tag.group & 0xFF00 == 0x5000:
        return Action.REMOVE  # curves, whatever of them it is
    if tag.group & 0xFF00 == 0x6000:
        return Action.REMOVE  # overlays: without their data, the rest of them says nothing
    return _table().get(tag)


@functools.cache
def _table() -> dict[BaseTag, Action]:
    with _TABLE.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader((line for line in lines if line[0] != "#"), delimiter="\t")
        return {Tag(row["tag"]): _choose(row) for row in rows if "x" not in row["tag"]}


def _choose(row: dict[str, str]) -> Action:
    if row["characteristics"] == "K" and row["keyword"] in _RETAINED:
        return Action.KEEP
    if row["modified_dates"] == "C":
        return Action.SHIFT
    return _STRICTEST[row["basic"]]
