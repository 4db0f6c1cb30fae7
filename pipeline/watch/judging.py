"""A version's logged answers, beside what it was trained with."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.intervals import wilson, wilson95
from pipeline.watch.comparison import KIND, compare
from pipeline.watch.domain import DOMAIN, chance, domain_of, sentence
from pipeline.watch.labels import Labels
from pipeline.watch.log_rows import LogRows, Row
from pipeline.watch.reference import Reference
from pipeline.watch.statistics import (
    Distance,
    adjusted,
    expected_right,
    of_numbers,
    of_texts,
    weighted_share,
)
from schema import contract

# Of the answers, beside the features of `schema.contract`.
CONFIDENCE: Final = "answer/confidence"
PREDICTED: Final = "answer/class"
# Beyond so much before the push, or after now, a clock was wrong; seconds.
_CLOCKS_DIFFER: Final = 86_400
NO_DAY: Final = "impossible"
_SLICES: Final = {
    "class": None,
    "source": contract.SOURCE,
    "view": contract.VIEW,
    "sex": contract.SEX,
    "age_group": contract.AGE_GROUP,
}


@dataclass(frozen=True)
class Thresholds:
    """The bounds of an alarm: a difference must be no chance, and large enough to matter.

    Attributes:
        alpha: probability of a false alarm among all features of a version, and of all its days,
            where nothing has changed.
        distance: 0..1, that a feature has to be apart.
        images: fewer are too few to judge.
        false_alarms: 0..1, the share of usual images that the input gate keeps out.
    """

    alpha: float = 0.01
    distance: float = 0.1
    images: int = 30
    false_alarms: float = 0.01


def judge(
    log: LogRows,
    references: Mapping[tuple[str, int], Reference],
    labels: Labels | None = None,
    thresholds: Thresholds = Thresholds(),
    now: float | None = None,
) -> dict[str, Any]:
    """Compute all that the page says.

    Args:
        log: what was read of it.
        references: (model, version) -> what it was trained with.
        labels: that came later.
        thresholds: of alarms.
        now: seconds since the epoch; the clock's where None.

    Returns:
        What `watch.json` holds; see docs/monitoring.md.
    """
    now = time.time() if now is None else now
    by_version: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in log.rows:
        by_version[row.model, row.version].append(row)
    if labels is not None:
        labels.join({row.digest for row in log.rows})
    versions = [
        _version(name, number, rows, references[name, number], labels, thresholds, now)
        for (name, number), rows in sorted(by_version.items())
        if (name, number) in references
    ]
    strange = {
        f"{name} {number}": len(rows)
        for (name, number), rows in sorted(by_version.items())
        if (name, number) not in references
    }
    known = {name: rows for name, rows in by_version.items() if name in references}
    comparisons = compare(known, labels, thresholds.alpha)
    worse = [
        {"version": f"{one['model']} {one['second']}", "kind": KIND, "sentence": one["alarm"]}
        for one in comparisons
        if one["alarm"]
    ]
    return {
        "alarms": [alarm for version in versions for alarm in version["alarms"]] + worse,
        "thresholds": vars(thresholds),
        "versions": versions,
        "comparisons": comparisons,
        "log": _of_log(log, strange),
        "labels": None if labels is None else _of_labels(labels),
    }


def _of_log(log: LogRows, strange: Mapping[str, int]) -> dict[str, Any]:
    return {
        "records": log.reading.records,
        "images": len(log.rows),
        "repeated": sum(log.repeated.values()),
        "unanswered": log.unanswered,
        "torn_shards": log.reading.torn,
        "unread_shards": log.reading.unread,
        "records_of_another_kind": log.reading.strange,
        "other_models": strange,
    }


def _of_labels(labels: Labels) -> dict[str, Any]:
    return {
        "used": len(labels.of_digest) - len(labels.unknown),
        "unknown": labels.unknown,
        "refused": {str(line): why for line, why in sorted(labels.refused.items())},
    }


def _version(
    name: str,
    number: int,
    rows: Sequence[Row],
    reference: Reference,
    labels: Labels | None,
    thresholds: Thresholds,
    now: float,
) -> dict[str, Any]:
    days: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        days[day_of(row, now)].append(row)
    drift = features_of_drift(rows, reference)
    windows = {day: features_of_drift(found, reference) for day, found in sorted(days.items())}
    gate = {"": domain_of(rows)} | {day: domain_of(days[day]) for day in sorted(days)}
    # One family: in 1 − α of the cases, chance alone raises no alarm on any day.
    p_adjusted = adjusted(
        {
            f"{day}\0{name}": one.p
            for day, found in {"": drift, **windows}.items()
            for name, one in found.items()
            if one.images >= thresholds.images
        }
        | {
            f"{day}\0{DOMAIN}": chance(one, thresholds.false_alarms)
            for day, one in gate.items()
            if one is not None and one["total"] >= thresholds.images
        }
    )
    kept_out = {
        day: one
        for day, one in gate.items()
        if one is not None
        and p_adjusted.get(f"{day}\0{DOMAIN}", 1.0) < thresholds.alpha
        and one["value"] - thresholds.false_alarms >= thresholds.distance
    }

    def told(day: str, found: Mapping[str, Distance]) -> list[dict[str, Any]]:
        rows_ = []
        for feature, distance in found.items():
            p = p_adjusted.get(f"{day}\0{feature}")
            alarm = p is not None and p < thresholds.alpha and distance.value >= thresholds.distance
            rows_.append(
                {
                    "feature": feature,
                    "images": distance.images,
                    "distance": distance.value,
                    "p": distance.p,
                    "p_adjusted": p,
                    "alarm": alarm,
                }
            )
        return sorted(rows_, key=lambda row: (not row["alarm"], -row["distance"]))

    features = told("", drift)
    of_days = [
        {
            "day": day,
            **_figures(days[day]),
            "too_few": len(days[day]) < thresholds.images,
            "alarms": [r["feature"] for r in told(day, found) if r["alarm"]]
            + [DOMAIN] * (day in kept_out),
            "features": told(day, found),
            "domain": gate[day],
        }
        for day, found in windows.items()
    ]
    truth = None if labels is None else _truth(rows, labels, thresholds)
    alarms = _alarms(name, number, features, of_days, truth)
    alarms += [
        {
            "version": f"{name} {number}",
            "kind": "domain",
            "sentence": sentence(f"{name} {number}", day, one, thresholds.false_alarms),
        }
        for day, one in kept_out.items()
        if not day or "" not in kept_out
    ]
    return {
        "model": name,
        "version": number,
        **_figures(rows),
        "too_few": len(rows) < thresholds.images,
        "seen_in_training": sum(row.digest in reference.seen for row in rows),
        "impossible_times": len(days.get(NO_DAY, ())),
        "held_out": None if reference.held_out is None else reference.held_out.to_json(),
        "domain": gate[""],
        "features": features,
        "not_compared": _not_compared(rows, reference, drift),
        "days": of_days,
        "slices": _slices(rows, labels),
        "truth": truth,
        "alarms": alarms,
    }


def day_of(row: Row, now: float) -> str:
    """Name a row's day, or say that a clock was wrong.

    A version is named by when it was pushed: nobody can have asked it before.
    """
    pushed = row.version if row.version > 1_000_000_000 else 0
    possible = pushed - _CLOCKS_DIFFER <= row.seconds <= now + _CLOCKS_DIFFER
    return row.day if possible else NO_DAY


def features_of_drift(rows: Sequence[Row], reference: Reference) -> dict[str, Distance]:
    """Measure each feature that both the log and the training know.

    Args:
        rows: at least one.
        reference: of their version.
    """
    found = {}
    for feature, before in reference.numbers.items():
        now = [row.numbers[feature] for row in rows if feature in row.numbers]
        if now:
            found[feature] = of_numbers(now, before)
    for feature, words in reference.texts.items():
        told = [row.texts[feature] for row in rows if feature in row.texts]
        if told:
            found[feature] = of_texts(told, words)
    if reference.held_out is not None:
        confidences = [row.confidence for row in rows]
        found[CONFIDENCE] = of_numbers(confidences, reference.held_out.confidences.tolist())
        found[PREDICTED] = of_texts([row.predicted for row in rows], reference.held_out.predicted)
    return found


def _not_compared(
    rows: Sequence[Row], reference: Reference, drift: Mapping[str, Distance]
) -> list[str]:
    known = {*reference.numbers, *reference.texts}
    known |= {name for row in rows for name in (*row.numbers, *row.texts)}
    return sorted(known - set(drift))


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    mean, low, high = expected_right([row.confidence for row in rows])
    abstained = sum(row.abstained for row in rows)
    return {
        "images": len(rows),
        "classes": dict(sorted(Counter(row.predicted for row in rows).items())),
        "abstained": {
            "count": abstained,
            "total": len(rows),
            "value": abstained / len(rows),
            "wilson95": wilson95(abstained, len(rows)),
        },
        "expected_accuracy": {"value": mean, "interval95": [low, high]},
    }


def _truth(rows: Sequence[Row], labels: Labels, thresholds: Thresholds) -> dict[str, Any] | None:
    """Hold the expectation against the labels that came later."""
    labelled = [row for row in rows if row.digest in labels.of_digest]
    if not labelled:
        return None
    right = sum(row.predicted == labels.of_digest[row.digest] for row in labelled)
    total = len(labelled)
    confidences = [row.confidence for row in labelled]
    mean, low, high = expected_right(confidences, 1 - thresholds.alpha)
    share = right / total
    return {
        "images": total,
        "right": right,
        "accuracy": share,
        "wilson95": wilson(right, total),
        "expected": mean,
        "interval99": [low, high],
        "too_few": total < thresholds.images,
        "of_all": _of_all(labelled, labels),
        "alarm": total >= thresholds.images and not low <= share <= high,
    }


def _slices(rows: Sequence[Row], labels: Labels | None) -> list[dict[str, Any]]:
    found = []
    for kind, feature in _SLICES.items():
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            value = row.predicted if feature is None else row.texts.get(feature)
            if value is not None:
                groups[value].append(row)
        found += [
            {"kind": kind, "value": value, **_figures(members), "right": _right(members, labels)}
            for value, members in sorted(groups.items())
        ]
    return found


def _right(rows: Iterable[Row], labels: Labels | None) -> dict[str, Any] | None:
    if labels is None:
        return None
    told = [
        row.predicted == labels.of_digest[row.digest]
        for row in rows
        if row.digest in labels.of_digest
    ]
    if not told:
        return None
    right, total = sum(told), len(told)
    return {
        "count": right, "total": total, "value": right / total, "wilson95": wilson95(right, total)
    }  # fmt: skip


def _of_all(labelled: Sequence[Row], labels: Labels) -> dict[str, Any] | None:
    """Estimate the accuracy on all that was served, where each label says what it stands for."""
    weights = [labels.weights.get(row.digest) for row in labelled]
    known = [weight for weight in weights if weight is not None]
    if len(known) < len(labelled):
        return None
    right = [row.predicted == labels.of_digest[row.digest] for row in labelled]
    share, low, high = weighted_share(right, known)
    return {"value": share, "interval95": [low, high], "stands_for": sum(known)}


def _alarms(
    name: str,
    number: int,
    features: Sequence[Mapping[str, Any]],
    days: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any] | None,
) -> list[dict[str, str]]:
    found = []
    version = f"{name} {number}"
    drifted = [row["feature"] for row in features if row["alarm"]]
    if drifted:
        found.append(
            {
                "version": version,
                "kind": "drift",
                "sentence": f"What {version} is asked about isn't what it was trained with: "
                f"{', '.join(drifted)}.",
            }
        )
    for day in days:
        new = [name for name in day["alarms"] if name not in (*drifted, DOMAIN)]
        if new:
            found.append(
                {
                    "version": version,
                    "kind": "drift",
                    "sentence": f"On {day['day']}, {version} was asked about something else than "
                    f"it was trained with: {', '.join(new)}.",
                }
            )
    if truth is not None and truth["alarm"]:
        low, high = truth["interval99"]
        found.append(
            {
                "version": version,
                "kind": "accuracy",
                "sentence": f"Of {truth['images']} labelled images {version} got "
                f"{100 * truth['accuracy']:.1f} % right; by its confidence, {100 * low:.1f} to "
                f"{100 * high:.1f} % were to be expected.",
            }
        )
    return found
