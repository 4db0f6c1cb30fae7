"""Ratios and goals, from measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from models.backbones import get_backbone

PAPER: Final = "a"
STOCK: Final = "b"
COLD: Final = "c"
OTHER_HEAD: Final = "d"
UNCHANGED: Final = "e"
CASES: Final = (PAPER, STOCK, COLD, OTHER_HEAD, UNCHANGED)

# The paper's test accuracies, of its own split of its own copy of the data.
PAPER_ACCURACY: Final[Mapping[str, float]] = {
    "vgg16": 122 / 129,
    "xception": 123 / 129,
    "densenet121": 127 / 129,
}

_FASTER_THAN_PAPER: Final = 50.0
_FASTER_THAN_STOCK: Final = 5.0
_LIMITS: Final[Mapping[str, float]] = {COLD: 240.0, OTHER_HEAD: 60.0, UNCHANGED: 20.0}

Measured = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """One of the benchmark's goals.

    Attributes:
        what: in words.
        wanted: the bound, with its unit.
        got: what was measured, in the same form.
        met: whether it was reached.
    """

    what: str
    wanted: str
    got: str
    met: bool


def paper_key(backbone: str) -> str:
    """Return the key of one backbone's part of (a), which is measured by itself."""
    return f"{PAPER}.{backbone}"


def paper_seconds(epochs: Sequence[float], table_epochs: int) -> float:
    """Compute what the paper's training of a backbone takes.

    Args:
        epochs: measured seconds of the first epochs, at least two. The first holds the
            tracing and isn't counted: the estimate is rather too low.
        table_epochs: how many the recipe has.

    Returns:
        Seconds; no data preparation, export or evaluation among them.
    """
    return statistics.mean(epochs[1:]) * table_epochs


def seconds_of(case: str, measured: Measured, backbones: Sequence[str]) -> float | None:
    """Sum the wall clock of a case, of all backbones together; None where it isn't measured.

    Args:
        case: of CASES.
        measured: key -> measurement.
        backbones: all that the benchmark is about.
    """
    if case != PAPER:
        return measured[case]["seconds"] if case in measured else None
    parts = [measured.get(paper_key(name)) for name in backbones]
    if not all(parts):
        return None
    return sum(
        paper_seconds(part["epochs"], get_backbone(name).paper.epochs)
        for name, part in zip(backbones, parts, strict=True)
        if part
    )


def accuracy_of(case: str, measured: Measured) -> Mapping[str, float]:
    """Read each backbone's accuracy on the test split; of (a) what the paper reports."""
    if case == PAPER:
        return PAPER_ACCURACY
    accuracy: Mapping[str, float] = measured[case]["accuracy"] if case in measured else {}
    return accuracy


def times_faster(
    case: str, beside: str, measured: Measured, backbones: Sequence[str]
) -> float | None:
    """Divide the seconds of `beside` by those of `case`; None where one is missing."""
    ours, theirs = (seconds_of(c, measured, backbones) for c in (case, beside))
    return theirs / ours if ours and theirs else None


def goals(measured: Measured, backbones: Sequence[str]) -> list[Goal]:
    """List the goals about which the measurements say something."""
    found = []
    for beside, wanted in ((PAPER, _FASTER_THAN_PAPER), (STOCK, _FASTER_THAN_STOCK)):
        ratio = times_faster(COLD, beside, measured, backbones)
        if ratio is not None:
            what = f"({COLD}) faster than ({beside})"
            found.append(Goal(what, f"{wanted:.0f}×", f"{ratio:.1f}×", ratio >= wanted))
            found += _not_less_accurate(beside, measured, backbones)
    for case, limit in _LIMITS.items():
        spent = seconds_of(case, measured, backbones)
        if spent is not None:
            found.append(Goal(f"({case}) under", f"{limit:.0f} s", f"{spent:.1f} s", spent < limit))
    return found


def _not_less_accurate(beside: str, measured: Measured, backbones: Sequence[str]) -> list[Goal]:
    theirs, ours = accuracy_of(beside, measured), accuracy_of(COLD, measured)
    if not all(name in theirs and name in ours for name in backbones):
        return []
    wanted = statistics.mean(theirs[name] for name in backbones)
    got = statistics.mean(ours[name] for name in backbones)
    what = f"({COLD}) as accurate as ({beside}), mean of the backbones"
    return [Goal(what, f"{wanted:.2%}", f"{got:.2%}", got >= wanted)]
