"""The findings about a run, and how much each matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Weight(IntEnum):
    """The weight of a finding for a reader who would trust the accuracy.

    In JSON it is the number (see `Finding.as_json`).
    """

    RECORD = 0  # nothing is wrong, or it only completes another one
    NOTICE = 1  # should be known
    DOUBT = 2  # the accuracy may mean less than it seems to, or no model is pushed


@dataclass(frozen=True)
class Finding:
    """One thing that is said.

    Attributes:
        about: what it belongs to; the module that writes it says which there are.
        weight: how much it matters.
        sentence: one or two, for people.
    """

    about: str
    weight: Weight
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields, as what they are once they were written and read."""
        return {"about": self.about, "weight": int(self.weight), "sentence": self.sentence}


def heaviest_first(findings: list[Finding]) -> list[Finding]:
    """Sort findings by weight; those of one weight stay in their order."""
    return sorted(findings, key=lambda finding: -finding.weight)
