"""The input gate's answers: how many images it kept out, why, and whether that is still chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from scipy.stats import binomtest

from common.intervals import wilson95
from pipeline.watch.log_rows import Row

# Beside the features that drift is measured on.
DOMAIN: Final = "answer/in_domain"


def domain_of(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Count the gate's answers.

    Args:
        rows: of a version, of a day or of all.

    Returns:
        None where the gate looked at none of them.
    """
    looked = [row for row in rows if row.in_domain is not None]
    if not looked:
        return None
    out = sum(not row.in_domain for row in looked)
    return {
        "count": out,
        "total": len(looked),
        "value": out / len(looked),
        "wilson95": wilson95(out, len(looked)),
        "reasons": dict(
            sorted(Counter(row.domain_reason for row in looked if not row.in_domain).items())
        ),
    }


def chance(one: Mapping[str, Any], false_alarms: float) -> float:
    """Compute how likely as many are kept out of usual images, by an exact binomial test.

    Args:
        one: of `domain_of`.
        false_alarms: 0..1, the share of usual images that the gate keeps out.
    """
    test = binomtest(one["count"], one["total"], false_alarms, alternative="greater")
    return float(test.pvalue)


def sentence(version: str, day: str, one: Mapping[str, Any], false_alarms: float) -> str:
    """Say what an alarm means.

    Args:
        version: model and version.
        day: "" for all days.
        one: `domain_of` it.
        false_alarms: as `chance` takes it.
    """
    when = f"On {day}, the" if day else "The"
    reasons = ", ".join(f"{reason} {count}" for reason, count in one["reasons"].items())
    return (
        f"{when} input gate of {version} kept out {one['count']} of {one['total']} images "
        f"({100 * one['value']:.1f} %; {reasons}); {100 * false_alarms:g} % are to be expected."
    )
