"""Codes of the results: SNOMED CT, UCUM and DICOM's own, and a private scheme for what these lack.

The private scheme is 99CXRTFX (99: private, PS3.16, 8); docs/dicom.md documents its codes. A class
that SNOMED CT has no code for here, and the probability of each class, get codes that follow from
the class's name.
"""

from __future__ import annotations

import hashlib
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

SCHEME: Final = "99CXRTFX"
# Of an LO, which a code's meaning is.
_MOST_LETTERS: Final = 64
# Folder's name, without regard to case -> SNOMED CT.
_KNOWN: Final = {
    "covid-19": ("840539006", "COVID-19"),
    "normal": ("17621005", "Normal"),
    "viral pneumonia": ("75570004", "Viral pneumonia"),
}


def private(value: str, meaning: str) -> CodedConcept:
    """Make a code of the private scheme."""
    return CodedConcept(value, SCHEME, meaning)


ANSWER: Final = private("ANSWER", "Answer of the classifier")
ABSTAINED: Final = private("ABSTAINED", "Classifier abstained: too unsure, a person has to look")
OUT_OF_DOMAIN: Final = private(
    "OUT-OF-DOMAIN", "Image unlike those that the classifier learned from"
)
INTENDED_USE: Final = private("INTENDED-USE", "Intended use")
NOT_FOR_DIAGNOSIS: Final = private("NOT-DIAGNOSTIC", "Not for diagnosis")
NO_UNITS: Final = CodedConcept("1", "UCUM", "no units")
CHEST_RADIOGRAPH: Final = CodedConcept("399208008", "SCT", "Plain chest X-ray")
COMMENT: Final = CodedConcept("121106", "DCM", "Comment")


def class_code(name: str) -> CodedConcept:
    """Return the code of a class: SNOMED CT's where it is known, else a private one."""
    known = _KNOWN.get(name.casefold())
    if known is not None:
        return CodedConcept(known[0], "SCT", known[1])
    return private(f"CLASS-{_short(name)}", name[:_MOST_LETTERS])


def probability_code(name: str) -> CodedConcept:
    """Return the code of the probability of a class."""
    return private(f"PROB-{_short(name)}", f"Probability of {name}"[:_MOST_LETTERS])


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def scheme_identification() -> CodingSchemeIdentificationItem:
    """Describe the private scheme, for the objects that use it."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="Codes of cxr-tfx", responsible_organization="cxr-tfx"
    )
