"""The names that people give to the columns of a table.

Names are compared without case, spaces, underscores and other signs: `Patient ID`, `patientid` and
`PATIENT_ID` are one. The list is in docs/data.md, too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from schema import contract

# Our name -> other names, the first that is there counts. Ours come first by themselves.
KNOWN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    contract.FILE_COLUMN: (
        *("file name", "file path", "image", "image file", "image name", "image path", "path"),
        *("image index", "image id"),
    ),
    contract.LABEL_COLUMN: ("class", "class name"),
    "patient_id": (
        *("patient", "patient no", "patient number", "patient identifier", "patient code"),
        *("patient nr", "patient uid", "id patient", "pat id", "pat no", "pat nr"),
        *("subject id", "subject", "subject no", "subject number", "subject identifier"),
        *("person id", "participant id", "pid", "mrn"),
    ),
    "sex": ("gender", "patient sex", "patient gender"),
    "age": ("patient age", "age years", "age in years"),
    "age_group": (),
    "view": ("view position", "projection"),
    "source": (),
}


def normal(name: str) -> str:
    """Return a name without case, normal form and signs: letters and digits alone."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in text if sign.isalnum())


def called(name: str, ours: str) -> bool:
    """Return whether a column of this name is one of ours, by any of its names.

    Args:
        name: of the column.
        ours: a key of `KNOWN_NAMES`.
    """
    return normal(name) in {normal(other) for other in (ours, *KNOWN_NAMES[ours])}
