"""The figures of the watch's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt

from common.words import percent
from components.report.drawing import COLOURS, INK, Picture, picture
from pipeline.watch.judging import NO_DAY


def by_day(version: Mapping[str, Any], name: str) -> Picture | None:
    """Draw expected accuracy, share abstained and shares of the classes, day by day.

    Args:
        version: of `judge`.
        name: of the picture.

    Returns:
        None where there is no day, but for impossible ones.
    """
    days = [day for day in version["days"] if day["day"] != NO_DAY]
    if not days:
        return None
    places = range(len(days))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4))
    values = [day["expected_accuracy"]["value"] for day in days]
    ends = [day["expected_accuracy"]["interval95"] for day in days]
    below = [max(0.0, v - e[0]) for v, e in zip(values, ends, strict=True)]
    above = [max(0.0, e[1] - v) for v, e in zip(values, ends, strict=True)]
    left.errorbar(
        places, values, (below, above), fmt="o", color=COLOURS[0], label="expected accuracy"
    )
    abstained = [day["abstained"]["value"] for day in days]
    left.plot(places, abstained, "s-", color=COLOURS[1], label="abstained")
    left.set_ylim(-0.02, 1.02)
    left.legend(loc="center left")
    classes = sorted({label for day in days for label in day["classes"]})
    for index, label in enumerate(classes[: len(COLOURS)]):
        shares = [day["classes"].get(label, 0) / day["images"] for day in days]
        right.plot(places, shares, "o-", color=COLOURS[index], label=label)
    right.set_ylim(-0.02, 1.02)
    right.set_ylabel("share of the answers")
    right.legend()
    step = max(1, len(days) // 8)
    for axes in (left, right):
        axes.set_xticks(
            list(places)[::step], [day["day"][5:] for day in days][::step], fontsize=8, rotation=45
        )
    return picture(
        figure,
        f"{name}-days",
        caption="Left: expected accuracy with its 95 % interval, and the share that a person has "
        "to look at. Right: what was answered.",
        alt=f"By day: expected accuracy from {percent(min(values))} to {percent(max(values))}.",
    )


def distances(rows: Sequence[Mapping[str, Any]], limit: float, name: str) -> Picture:
    """Draw how far each feature is from training.

    Args:
        rows: of a version's `features`.
        limit: from which on a distance may be an alarm.
        name: of the picture.
    """
    figure, axes = plt.subplots(figsize=(7.2, 0.8 + 0.34 * len(rows)))
    colours = [COLOURS[1] if row["alarm"] else COLOURS[0] for row in rows]
    axes.barh(range(len(rows)), [row["distance"] for row in rows], color=colours)
    axes.axvline(limit, linestyle=":", color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [row["feature"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("distance from training (0: none, 1: nothing in common)")
    alarms = [row["feature"] for row in rows if row["alarm"]]
    told = ", ".join(alarms) or "none"
    return picture(
        figure,
        f"{name}-distances",
        caption="Orange is an alarm: no chance, and beyond the dotted line.",
        alt=f"Distances of {len(rows)} features from training; alarms: {told}.",
    )
