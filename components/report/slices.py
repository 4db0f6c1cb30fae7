"""Fairness: what TFMA found out about groups of test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow_model_analysis as tfma
from scipy.stats import fisher_exact

from components.evaluator.results import accuracy_interval, place, slice_name
from components.report.comparison import SIGNIFICANT
from components.report.images import COLUMNS
from components.report.judgement import rates, share
from schema import contract
from schema.class_tables import MOST_COLUMNS

_CLASS: Final = slice_name(contract.LABEL_TEXT)
# Further columns stand behind these.
_ORDER: Final = (contract.LABEL_TEXT, *COLUMNS.values())
# Below it, one image is more than five points.
TOO_SMALL: Final = 20


def slices(result: tfma.EvalResult, classes: Sequence[str]) -> list[dict[str, Any]]:
    """List each slice of TFMA's evaluation of one model.

    Args:
        result: the candidate's.
        classes: names in label order.

    Returns:
        By feature and value, the class first and further columns last: `feature` (as people
        call it), `value`, `images`, `accuracy` (a `share`), `classes` (name -> both `rates` of
        what was predicted, and what TFMA says of the class against the rest; of many classes,
        those that have images there or that are said of some), `too_small` to judge.
    """
    plots = dict(result.plots)
    rows = []
    found = {key[0]: by_output[""] for key, by_output in result.slicing_metrics if key}
    for feature, value in sorted(found, key=lambda part: (*place(part[0], _ORDER), part[1])):
        metrics = found[feature, value]
        confusion = confusion_of(plots[((feature, value),)], len(classes))
        images = int(confusion.sum())
        rows.append(
            {
                "feature": slice_name(feature),
                "value": value,
                "images": images,
                "accuracy": share(int(np.trace(confusion)), images)
                | {"wilson95": accuracy_interval(metrics[""])},
                "classes": {
                    name: rates(confusion, index) | _binarized(metrics, index)
                    for index, name in enumerate(classes)
                    if len(classes) <= MOST_COLUMNS
                    or confusion[index].any()
                    or confusion[:, index].any()
                },
                "too_small": images < TOO_SMALL,
            }
        )
    return rows


def confusion_of(plots: dict[str, Any], n_classes: int) -> np.ndarray:
    """Read TFMA's confusion matrix of a slice.

    Args:
        plots: of the slice, as `tfma.EvalResult.plots` has them.
        n_classes: rows and columns.

    Returns:
        int64 [n_classes, n_classes], rows true class, columns predicted class.
    """
    matrices = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
    counts = np.zeros((n_classes, n_classes), np.int64)
    for entry in matrices[0]["entries"]:
        # A class index of 0 isn't written at all.
        place = int(entry.get("actualClassId", 0)), int(entry.get("predictedClassId", 0))
        counts[place] = round(float(entry["numWeightedExamples"]))
    return counts


def largest_gap(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Find the two groups of one kind whose accuracies are furthest apart.

    Groups too small to judge, and images of which nothing is known, are left out; so are the
    classes themselves, whose accuracies are their recalls.

    Args:
        rows: as `slices` returns them.

    Returns:
        `feature`, `worst` and `best` (rows), `points` between them (0..1), Fisher's exact `p`
        (two-sided), whether it is `significant`, and `words`; None where no kind has two groups
        that are large enough.
    """
    found = []
    kinds = dict.fromkeys(row["feature"] for row in rows)
    for feature in [name for name in kinds if name != _CLASS]:
        judged = [
            row
            for row in rows
            if row["feature"] == feature
            and not row["too_small"]
            and row["value"] != contract.UNKNOWN
        ]
        if len(judged) > 1:
            ordered = sorted(judged, key=lambda row: row["accuracy"]["value"])
            found.append((feature, ordered[0], ordered[-1]))
    if not found:
        return None
    feature, worst, best = max(
        found, key=lambda gap: gap[2]["accuracy"]["value"] - gap[1]["accuracy"]["value"]
    )
    p = _fisher(worst["accuracy"], best["accuracy"])
    return {
        "feature": feature,
        "worst": worst,
        "best": best,
        "points": best["accuracy"]["value"] - worst["accuracy"]["value"],
        "p": p,
        "significant": p < SIGNIFICANT,
        "words": _words(feature, worst, best, p),
    }


def worst_group(rows: Sequence[dict[str, Any]], images: int) -> dict[str, Any] | None:
    """Find the part of the test split that is read worst.

    Groups too small to judge, images of which nothing is known, and groups that are the whole
    test split are left out.

    Args:
        rows: as `slices` returns them.
        images: of the test split.

    Returns:
        `feature`, `value` and `accuracy` (a `share`) of the first of the worst ones; None where
        no group can be judged.
    """
    judged = [
        row for row in rows if not row["too_small"] and row["images"] < images and _is_known(row)
    ]
    if not judged:
        return None
    worst = min(judged, key=lambda row: row["accuracy"]["value"])
    return {key: worst[key] for key in ("feature", "value", "accuracy")}


def is_more_than_the_class_known(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether any other column says something of any image.

    Args:
        rows: as `slices` returns them.
    """
    return any(row["feature"] != _CLASS and _is_known(row) for row in rows)


def _is_known(row: Mapping[str, Any]) -> bool:
    # A class may be called so.
    return bool(row["feature"] == _CLASS or row["value"] != contract.UNKNOWN)


def _fisher(one: dict[str, Any], other: dict[str, Any]) -> float:
    table = [[a["count"], a["total"] - a["count"]] for a in (one, other)]
    return float(fisher_exact(table)[1])


def _words(feature: str, worst: dict[str, Any], best: dict[str, Any], p: float) -> str:
    def of(row: dict[str, Any]) -> str:
        accuracy = row["accuracy"]
        return f"{accuracy['count']} of {accuracy['total']} images of {feature} {row['value']}"

    points = 100 * (best["accuracy"]["value"] - worst["accuracy"]["value"])
    if not points:
        return f"No gap: {of(worst)} are right, and as many of every other."
    verdict = (
        "that is more than chance" if p < SIGNIFICANT else "with so few images that can be chance"
    )
    return (
        f"The largest gap is by {feature}: {of(worst)} are right, against {of(best)}; "
        f"{points:.1f} points, and {verdict} (Fisher's exact test, p {p:.2g})."
    )


# Of one class against the rest (BinarizationOptions), the rates at a probability of 0.5.
_BINARIZED: Final = {
    "auc": "auc",
    "false_negative_rate_at_half": "false_negative_rate",
    "false_positive_rate_at_half": "false_positive_rate",
}


def _binarized(metrics: dict[str, Any], index: int) -> dict[str, float | None]:
    """Read TFMA's own figures; None where a slice lacks the class, or all others."""
    of_class = metrics.get(f"classId:{index}", {})
    return {name: _number(of_class.get(metric, {})) for name, metric in _BINARIZED.items()}


def _number(value: dict[str, Any]) -> float | None:
    found = float(value.get("doubleValue", np.nan))
    return None if np.isnan(found) else found
