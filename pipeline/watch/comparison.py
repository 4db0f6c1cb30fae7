"""Two versions of a model, compared by what both were asked, and by what each was asked alone.

A shadow is asked what the stable version is: its images are pairs. A canary gets images of its own,
drawn by their digest, which says nothing of what they show: two samples of one source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from scipy.stats import fisher_exact

from common.intervals import wilson95
from pipeline.watch.labels import Labels
from pipeline.watch.log_rows import Row
from pipeline.watch.statistics import mcnemar, of_numbers, of_texts

# Beside the versions' own alarms.
KIND: Final = "comparison"


def compare(
    by_version: Mapping[tuple[str, int], Sequence[Row]], labels: Labels | None, alpha: float
) -> list[dict[str, Any]]:
    """Compare the versions of each model, two at a time.

    Args:
        by_version: (model, version) -> its rows, an image each.
        labels: that came later.
        alpha: probability of a false alarm of a comparison, where both are equally good.

    Returns:
        A comparison for each pair: `first` is the lower version. `alarm` says that `second` is the
        worse one, and empty where it isn't, or nobody knows.
    """
    found = []
    for one, other in combinations(sorted(by_version), 2):
        if one[0] == other[0]:
            first = {row.digest: row for row in by_version[one] if row.digest}
            second = {row.digest: row for row in by_version[other] if row.digest}
            told = _pair(first, second, labels)
            found.append(
                {
                    "model": one[0],
                    "first": one[1],
                    "second": other[1],
                    **told,
                    "alarm": _alarm(one[0], one[1], other[1], told, alpha),
                }
            )
    return found


def _pair(
    first: Mapping[str, Row], second: Mapping[str, Row], labels: Labels | None
) -> dict[str, Any]:
    both = sorted(first.keys() & second.keys())
    agreed = sum(first[digest].predicted == second[digest].predicted for digest in both)
    apart = [
        [row for digest, row in sorted(rows.items()) if digest not in other]
        for rows, other in ((first, second), (second, first))
    ]
    return {
        "both": {
            "images": len(both),
            "agreement": _share(agreed, len(both)),
            "labelled": _paired(first, second, both, labels),
        },
        "apart": _apart(apart[0], apart[1], labels),
    }


def _paired(
    first: Mapping[str, Row], second: Mapping[str, Row], both: Sequence[str], labels: Labels | None
) -> dict[str, Any] | None:
    """Count who is right of the images that both were asked about."""
    if labels is None:
        return None
    truth = {digest: labels.of_digest[digest] for digest in both if digest in labels.of_digest}
    if not truth:
        return None
    right = [
        (first[digest].predicted == label, second[digest].predicted == label)
        for digest, label in truth.items()
    ]
    only_first, only_second = right.count((True, False)), right.count((False, True))
    return {
        "images": len(right),
        "both_right": right.count((True, True)),
        "only_first": only_first,
        "only_second": only_second,
        "both_wrong": right.count((False, False)),
        "mcnemar_p": mcnemar(only_first, only_second),
    }


def _apart(
    first: Sequence[Row], second: Sequence[Row], labels: Labels | None
) -> dict[str, Any] | None:
    """Compare the images that only one of both was asked about."""
    if not first or not second:
        return None
    confidence = of_numbers([row.confidence for row in second], [row.confidence for row in first])
    classes = of_texts([row.predicted for row in second], [row.predicted for row in first])
    return {
        "images": [len(first), len(second)],
        "abstained": [
            _share(sum(row.abstained for row in rows), len(rows)) for rows in (first, second)
        ],
        "confidence": {"distance": confidence.value, "p": confidence.p},
        "classes": {"distance": classes.value, "p": classes.p},
        "labelled": None if labels is None else _two_samples(first, second, labels),
    }


def _two_samples(
    first: Sequence[Row], second: Sequence[Row], labels: Labels
) -> dict[str, Any] | None:
    counts = []
    for rows in (first, second):
        told = [
            row.predicted == labels.of_digest[row.digest]
            for row in rows
            if row.digest in labels.of_digest
        ]
        counts.append((sum(told), len(told)))
    if not all(total for _, total in counts):
        return None
    table = [[right, total - right] for right, total in counts]
    return {
        "right": [_share(*one) for one in counts],
        "fisher_p": float(fisher_exact(table)[1]),
    }


def _alarm(model: str, first: int, second: int, told: Mapping[str, Any], alpha: float) -> str:
    """Say that the second version is the worse one: no chance, on the labelled images."""
    paired = told["both"]["labelled"]
    if (
        paired is not None
        and paired["only_first"] > paired["only_second"]
        and paired["mcnemar_p"] < alpha
    ):
        return (
            f"{model} {second} is worse than {first}: of {paired['images']} labelled images that "
            f"both answered, {paired['only_first']} are right by {first} alone and "
            f"{paired['only_second']} by {second} alone (McNemar's p {paired['mcnemar_p']:.2g})."
        )
    samples = (told["apart"] or {}).get("labelled")
    if samples is not None and samples["fisher_p"] < alpha:
        before, after = samples["right"]
        if after["value"] < before["value"]:
            return (
                f"{model} {second} is worse than {first}: {after['count']} of {after['total']} "
                f"labelled images are right, against {before['count']} of {before['total']} others "
                f"(Fisher's p {samples['fisher_p']:.2g})."
            )
    return ""


def _share(count: int, total: int) -> dict[str, Any] | None:
    if not total:
        return None
    return {
        "count": count, "total": total, "value": count / total, "wilson95": wilson95(count, total)
    }  # fmt: skip
