"""The top of the page: what a reader in a hurry should know, and the figures in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.words import listed
from components.report.findings import grouped
from components.report.judgement import share
from components.report.slices import worst_group
from components.report.verdict_lines import lines
from schema import contract

# The audit's name of what it looks at for comparison alone.
_WHOLE_IMAGE: Final = "whole_image"


def verdict(main: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Build the lines at the top with their figures, and all findings in groups below them.

    Args:
        main: the model that they tell of: the champion, else the most accurate.
        numbers: see `components.report.content`; everything but the verdict is there.

    Returns:
        What JSON can hold. Figures: `model` (its name), `champion` (whether it is), `pushed`,
        `not_pushed_because` (None where it is pushed), `accuracy` (a `share`), `baseline` and
        `paper` (see `components.report.comparison`; None where there is none),
        `most_frequent_class` (a `share`: what always naming it gets right), `worst_group` (see
        `slices.worst_group`), `leaks` (see `_leaks`), `shortcut` (the best of the audit's that is
        above chance; None without one), `images_of_a_class` (split -> the `fewest` and the
        `most`), `could_not_know` (how many things). Words: `lines` and, by group, `findings` (see
        `verdict_lines.lines` and `findings.grouped`).
    """
    model, summary = numbers["models"][main], numbers["data"]["summary"]
    refused = why_not_pushed(numbers)
    figures = {
        "model": main,
        "champion": main == numbers["champion"],
        "pushed": refused is None,
        "not_pushed_because": refused,
        "accuracy": model["accuracy"],
        "baseline": model["baseline"],
        "paper": model["paper"],
        "most_frequent_class": _most_frequent(model["confusion"]),
        "worst_group": worst_group(model["slices"], model["accuracy"]["total"]),
        "leaks": _leaks(summary, numbers["audit"]),
        "shortcut": _best_shortcut(numbers["audit"]),
        "images_of_a_class": _images_of_a_class(summary),
        "could_not_know": len(summary["remarks"]),
    }
    return figures | {
        "lines": lines(figures, numbers),
        "findings": grouped(main, refused, numbers),
    }


def why_not_pushed(numbers: Mapping[str, Any]) -> str | None:
    """Say why the run pushes no model, without a full stop; None where it pushes its champion.

    Args:
        numbers: see `components.report.content`.
    """
    models, audit = numbers["models"], numbers["audit"]
    passed = [name for name, model in models.items() if model["blessed"]]
    if not passed:
        return f"the gate refused {'it' if len(models) == 1 else f'all {len(models)} models'}"
    if numbers["champion"] is None:
        # Champion takes every model that passed, but those that InfraCheck refused, and those that
        # aren't to be pushed by what training found.
        held = {name: models[name].get("not_to_push") for name in passed}
        if all(held.values()):
            said = "; ".join(str(reason).rstrip(".") for reason in held.values())
            return f"{listed(passed)} passed the gate, but training says: {said}"
        if len(passed) == 1:
            return f"{passed[0]} passed the gate, but could not be served on trial"
        if any(held.values()):
            return (
                f"{len(passed)} models passed the gate, but none of them could be served on trial "
                "or is to be pushed by what training found"
            )
        return f"{len(passed)} models passed the gate, but none of them could be served on trial"
    if audit and not audit["passed"]:
        return f"the audit found more than its limits allow: {'; '.join(audit['failures'])}"
    return None


def _most_frequent(confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Count what is right by always naming the class that most test images are of."""
    images = [sum(row) for row in confusion]
    return share(max(images), sum(images))


def _leaks(summary: Mapping[str, Any], audit: Mapping[str, Any] | None) -> dict[str, int | None]:
    """Count what two splits have in common.

    Returns:
        `near_duplicates` (pairs in two splits; None where there was no audit),
        `patients` (in two splits; None where no patient is known), `images_without_patient`,
        `images` in all splits.
    """
    return {
        "near_duplicates": audit["duplicates"]["across_splits"] if audit else None,
        "patients": summary["patients_in_two_splits"],
        "images_without_patient": summary["images_without_patient"],
        "images": sum(summary["split_totals"].values()),
    }


def _best_shortcut(audit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Find what predicts the class best without lungs; what tells all classes apart goes first."""
    found: list[dict[str, Any]] = [
        one
        for one in (audit["shortcuts"] if audit else ())
        if one["above_chance"] and one["seen"] != _WHOLE_IMAGE
    ]
    return max(
        found,
        key=lambda one: (one["against_rest"] is None, one["accuracy"] - one["chance"]),
        default=None,
    )


def _images_of_a_class(summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    counts = summary["split_counts"].values()
    return {
        split: {
            "fewest": min(of_class[split] for of_class in counts),
            "most": max(of_class[split] for of_class in counts),
        }
        for split in contract.SPLITS
    }
