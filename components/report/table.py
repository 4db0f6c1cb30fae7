"""The page's section on the table: what its models found in it, and what it gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np

from components.report.drawing import COLOURS, INK, MOST_VALUES, Picture, picture
from schema import contract
from schema.class_tables import shortened

# What the audit calls the whole table, and its presence alone.
_WHOLE: Final = "table"
_PRESENCE: Final = "presence"


def table_section(
    models: Mapping[str, Mapping[str, Any]], audit: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Gather what the section says.

    Args:
        models: the report's figures of each model.
        audit: ShortcutAudit's; None where there was none.

    Returns:
        `models` that take the table; `compared`: image, table and joint, out of fold, by patient
        (`models.joint_comparison.Comparison.as_json`), where there is a joint model; `gives_away`:
        the audit's rows on the table; `beyond_presence`: by how many nats the whole table predicts
        the class better than which values are there. None where no model takes a table.
    """
    taking = [name for name, model in models.items() if model["coefficients"] or model["parts"]]
    if not taking:
        return None
    compared = next((models[name]["table"] for name in taking if models[name]["table"]), None)
    rows = (audit or {}).get("table", [])
    gains = {row["seen"]: row["gain"] for row in rows}
    known = {_WHOLE, _PRESENCE} <= gains.keys()
    return {
        "models": taking,
        "compared": compared,
        "gives_away": rows,
        "beyond_presence": gains[_WHOLE] - gains[_PRESENCE] if known else None,
    }


def parts(name: str, figures: Mapping[str, Any]) -> Picture:
    """Draw what each part added to the log-odds of the true class, by class.

    Args:
        name: of the model.
        figures: of `components.inferrer.parts.part_figures`.
    """
    rows = [row for row in figures["parts"] if row["name"] != contract.PART_REST]
    shown = sorted(rows, key=lambda row: -row["mean_absolute"])[:MOST_VALUES]
    classes = list(shown[0]["signed"])
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.4 * len(shown)))
    places = np.arange(len(shown))
    axes.barh(
        places, [row["mean_absolute"] for row in shown], color=COLOURS[5], alpha=0.5,
        label="mean absolute",
    )  # fmt: skip
    for index, class_name in enumerate(classes[: len(COLOURS)]):
        axes.plot(
            [row["signed"][class_name] for row in shown], places, "o", markersize=5,
            color=COLOURS[index], label=shortened(class_name),
        )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [shortened(row["name"], 40) for row in shown], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("added to the log-odds of the true class, nats")
    axes.legend(loc="best", fontsize=8)
    cut = f" {len(shown)} of {len(rows)} are drawn." if len(shown) < len(rows) else ""
    spoken = "; ".join(f"{row['name']} {row['mean_absolute']:.2f}" for row in shown)
    return picture(
        figure,
        f"{name}-parts",
        caption=f"{name}: what each part added over {figures['images']} test images. A dot is the "
        f"mean over a class's images: right of 0, it speaks for them.{cut}",
        alt=f"Mean absolute log-odds added by each part to {name}'s answers: {spoken}.",
    )


def decision_curve(
    curves: Mapping[str, Sequence[Mapping[str, float]]], classes: Sequence[str]
) -> Picture:
    """Draw the net benefit of acting on a class's probability.

    Args:
        curves: label, as text -> points (`models.by_patient.decision_curve`).
        classes: names in label order.
    """
    shown = list(zip(classes, COLOURS, strict=False))
    figure, axes = plt.subplots()
    for label, (name, colour) in enumerate(shown):
        points = curves[str(label)]
        thresholds = [point["threshold"] for point in points]
        axes.plot(
            thresholds, [point["model"] for point in points], color=colour, label=shortened(name)
        )
        axes.plot(thresholds, [point["all"] for point in points], ":", color=colour, linewidth=1)
    axes.axhline(0, color=INK, linewidth=0.8)
    best = max(point["model"] for curve in curves.values() for point in curve)
    axes.set_ylim(-0.05, max(best * 1.15, 0.1))
    axes.set_xlabel("probability from which one acts")
    axes.set_ylabel("net benefit")
    axes.legend()
    return picture(
        figure,
        "table-decision-curve",
        caption="Decision curve, out of fold: the net benefit of acting on the model's "
        "probability of a class (line), and of acting on all images (dotted); to act on none "
        "brings 0.",
        alt="Decision curves of " + ", ".join(name for name, _ in shown) + ".",
    )
