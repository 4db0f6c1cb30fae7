"""The figures of the models: what the paper shows of each, and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from components.report.drawing import COLOURS, FAINT, INK, MOST_VALUES, Picture, picture
from components.report.words import percent
from schema import contract
from schema.class_tables import MOST_COLUMNS, most_confused, shortened

# A figure of the confusion is as wide as a page at most, inches.
_WIDEST: Final = 12.0
# Letters of a name that fit beside a cell of the confusion of three classes.
_FITS_A_CELL: Final = 16
# Letters of a name in a legend inside a figure.
_FITS_INSIDE: Final = 18


def accuracies(models: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Each model's test accuracy with its 95 % interval, and the paper's."""
    figure, axes = plt.subplots(figsize=(7.2, 0.6 + 0.62 * len(models)))
    labels = []
    for row, (name, model) in enumerate(models.items()):
        _with_interval(axes, row - 0.12, model["accuracy"], COLOURS[0], "o")
        if model["paper"]:
            _with_interval(axes, row + 0.18, model["paper"]["accuracy"], COLOURS[1], "s")
        labels.append(name)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy on the test split (bar: 95 % Wilson interval)")
    axes.xaxis.set_major_formatter(_percent)
    beside_paper = any(model["paper"] for model in models.values())
    beside = " beside the paper's" if beside_paper else ""
    if beside_paper:
        handles = [
            axes.plot([], [], marker, color=colour)[0]
            for marker, colour in (("o", COLOURS[0]), ("s", COLOURS[1]))
        ]
        figure.legend(handles, ["this run", "the paper"], loc="outside upper right", ncols=2)
    spoken = "; ".join(
        f"{name} {percent(model['accuracy']['value'])}"
        + (f", the paper {percent(model['paper']['accuracy']['value'])}" if model["paper"] else "")
        for name, model in models.items()
    )
    return picture(
        figure,
        "accuracies",
        caption=f"Test accuracy{beside}. Where bars overlap widely, the order of the dots says "
        "little.",
        alt=f"Accuracies with intervals: {spoken}.",
    )


def confusion(name: str, matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Picture:
    """The confusion matrix as a heat map, rows true, columns predicted."""
    counts = np.asarray(matrix)
    rows = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [shortened(name) for name in classes]
    crowded = len(names) > 4 or max(map(len, names)) > _FITS_A_CELL
    side = min(0.7 + 0.5 * max(len(names) - 3, 0) + (2.0 if crowded else 0.0), _WIDEST - 4.0)
    figure, axes = plt.subplots(figsize=(3.7 + side, 3.0 + side))
    size = min(9.0, 72 * (side + 1.5) / len(names))
    axes.imshow(counts / rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    for (row, column), count in np.ndenumerate(counts):
        if not count and len(names) > MOST_COLUMNS:
            continue
        dark = count / rows[row, 0] > 0.5
        axes.text(
            column, row, str(count), ha="center", va="center",
            color="white" if dark else "#202020", fontsize=min(size + 1, 10),
        )  # fmt: skip
    places = range(len(names))
    axes.set_xticks(places, names, fontsize=size, rotation=90 if crowded else 0)
    axes.set_yticks(places, names, fontsize=size, rotation=0 if crowded else 90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return picture(
        figure,
        f"{name}-confusion",
        caption="Confusion matrix: rows true, columns predicted; coloured by share of the row.",
        alt=f"Confusion matrix of {name}: {_spoken(counts, classes)}.",
    )


def _spoken(counts: np.ndarray, classes: Sequence[str]) -> str:
    """The confusion in words: of all classes, or of many the most frequent mistakes."""
    if len(classes) > MOST_COLUMNS:
        mistakes = [
            f"{one.count} of {one.total} {one.true} read as {one.predicted}"
            for one in most_confused(counts.tolist(), classes)
        ]
        right = f"{np.trace(counts)} of {counts.sum()} images of {len(classes)} classes are right"
        return "; ".join([right, *mistakes])
    return "; ".join(
        f"of {counts[i].sum()} {classes[i]}, "
        + ", ".join(f"{counts[i, j]} read as {classes[j]}" for j in range(len(classes)))
        for i in range(len(classes))
    )


def history(name: str, values: Mapping[str, Sequence[float]], folds: int = 0) -> Picture:
    """Loss and accuracy where the head is fitted and where it is judged.

    Args:
        name: of the model.
        values: metric -> value by epoch, or by the solver's iteration.
        folds: as in validation.json.
    """
    fitted, judged = ("fitted", "out of fold") if folds else ("train", "validation")
    steps, step = values.get(contract.HISTORY_ITERATION), "iteration"
    if steps is None:
        steps, step = range(1, len(next(iter(values.values()))) + 1), "epoch"
    figure, both = plt.subplots(1, 2, figsize=(7.6, 3.4))
    for axes, metric in zip(both, ("loss", "accuracy"), strict=True):
        for key, label, colour in (
            (metric, fitted, COLOURS[0]),
            (f"val_{metric}", judged, COLOURS[1]),
        ):
            if key in values:
                axes.plot(steps, values[key], label=label, color=colour)
        axes.set_xlabel(step)
        axes.set_ylabel(metric)
        axes.legend()
    where = "on train and validation split"
    if folds:
        where = f"on the images that are fitted, and out of fold (the mean of {folds} folds)"
    kept = ""
    if step == "iteration":
        kept = " The last iteration of L-BFGS, where the loss on what is fitted is lowest, is kept."
    elif values.get("val_loss"):
        lowest = int(np.argmin(values["val_loss"]))
        kept = f" Lowest validation loss in epoch {lowest + 1}, which is kept."
    return picture(
        figure,
        f"{name}-history",
        caption=f"Training: loss and accuracy {where}.{kept}",
        alt=f"Training curves of {name} over {int(steps[-1])} {step}s.{kept}",
    )


def curves(name: str, of_classes: Mapping[str, Mapping[str, Any]]) -> Picture:
    """ROC and precision-recall curves, each class against the rest.

    Where classes are more than colours, those with the smallest areas have one.
    """
    drawn = {label: one for label, one in of_classes.items() if one["roc"] is not None}
    worst = sorted(drawn, key=lambda label: drawn[label]["auc"])[: len(COLOURS)]
    coloured = [label for label in drawn if label in worst]
    inside = max(map(len, coloured), default=0) <= _FITS_INSIDE and len(coloured) <= 4
    below = 0.0 if inside else 0.2 + 0.2 * len(coloured)
    figure, (roc, pr) = plt.subplots(1, 2, figsize=(7.6, 3.7 + below))
    for label, one in drawn.items():
        if label not in worst:
            style = {
                "color": FAINT,
                "linewidth": 0.6,
                "alpha": 0.6,
                "zorder": 1,
                "rasterized": True,
            }
            roc.plot(one["roc"]["false_positive_rate"], one["roc"]["true_positive_rate"], **style)
            pr.plot(one["pr"]["recall"], one["pr"]["precision"], **style)
    for label in coloured:
        one, short = drawn[label], shortened(label, 40)
        colour = COLOURS[coloured.index(label)]
        roc.plot(
            one["roc"]["false_positive_rate"],
            one["roc"]["true_positive_rate"],
            label=f"{short} ({one['auc']:.3f})",
            color=colour,
        )
        pr.plot(
            one["pr"]["recall"],
            one["pr"]["precision"],
            label=f"{short} ({one['average_precision']:.3f})",
            color=colour,
        )
    roc.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (AUC)")
    pr.set(xlabel="recall", ylabel="precision", title="precision-recall (AP)")
    for axes in (roc, pr):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        if coloured:
            place = {"loc": "best"} if inside else {
                "loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "fontsize": 8
            }  # fmt: skip
            axes.legend(**place)
    spoken = ", ".join(f"{label} {drawn[label]['auc']:.3f}" for label in coloured)
    few = len(coloured) < len(drawn)
    grey = f" The {len(coloured)} with the smallest areas have a colour." if few else ""
    return picture(
        figure,
        f"{name}-curves",
        caption="Each class against the rest: ROC with its area, precision-recall with average "
        f"precision.{grey}",
        alt=f"ROC and precision-recall curves of {name}; areas under the ROC"
        f"{', the smallest' if few else ''}: {spoken}.",
    )


def calibration(
    name: str, figures: Mapping[str, Any], coverage: Sequence[Mapping[str, float]]
) -> Picture:
    """Reliability diagram, and accuracy against coverage."""
    figure, (reliability, answered) = plt.subplots(1, 2, figsize=(7.6, 3.5))
    reliability.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
    for one in figures["bins"]:
        _with_interval(
            reliability, one["confidence"], one["accuracy"], COLOURS[0], "o", upright=True
        )
    reliability.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
    answered.plot([row["coverage"] for row in coverage], [row["accuracy"] for row in coverage])
    answered.set(xlabel="share of images answered, the surest first", ylabel="accuracy of those")
    answered.set_xlim(0, 1.03)
    return picture(
        figure,
        f"{name}-calibration",
        caption="Left: is a confidence of 90 % right nine times in ten? Bars: 95 % intervals. "
        "Right: what abstaining from unsure answers would buy.",
        alt=f"Reliability diagram of {name}, expected calibration error {figures['ece']:.3f}, "
        "and its accuracy by coverage.",
    )


def slice_accuracies(rows: Sequence[Mapping[str, Any]], name: str) -> Picture:
    """Accuracy of one model by group; what is too small to judge is hollow.

    It isn't drawn at all where there are more than MOST_VALUES groups of a kind; and of so many
    groups that can be judged, the MOST_VALUES with the lowest accuracy are drawn.
    """
    groups = Counter(row["feature"] for row in rows)
    rows = [row for row in rows if not row["too_small"] or groups[row["feature"]] <= MOST_VALUES]
    judged = Counter(row["feature"] for row in rows)
    lowest = {
        feature: sorted(
            (row for row in rows if row["feature"] == feature),
            key=lambda row: row["accuracy"]["value"],
        )[:MOST_VALUES]
        for feature, count in judged.items()
        if count > MOST_VALUES
    }
    rows = [row for row in rows if row in lowest.get(row["feature"], rows)]
    cut = "".join(
        f" Of {judged[feature]} groups by {feature}, the {MOST_VALUES} with the lowest accuracy."
        for feature in lowest
    )
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.32 * len(rows)))
    for place, row in enumerate(rows):
        colour = FAINT if row["too_small"] else COLOURS[0]
        _with_interval(axes, place, row["accuracy"], colour, "o", hollow=row["too_small"])
    labels = [f"{row['feature']}: {shortened(row['value'])} ({row['images']})" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(_percent)
    axes.set_xlabel("accuracy (grey: too few images to judge)")
    spoken = "; ".join(
        f"{row['feature']} {row['value']} {row['accuracy']['count']} of {row['images']}"
        for row in rows
    )
    return picture(
        figure,
        "slices",
        caption=f"Accuracy of {name} by group, with the number of test images; bars: 95 % "
        f"Wilson intervals.{cut}",
        alt=f"Accuracy by group: {spoken}.",
    )


def _percent(value: float, _: float) -> str:
    return f"{100 * value:.0f} %"


def _with_interval(
    axes: Axes,
    place: float,
    share: Mapping[str, Any],
    colour: str,
    marker: str,
    *,
    upright: bool = False,
    hollow: bool = False,
) -> None:
    """A share with its interval; lying, unless `upright`."""
    value, (low, high) = share["value"], share["wilson95"]
    # Rounding may put an end a hair on the wrong side of the share.
    ends = [[max(value - low, 0)], [max(high - value, 0)]]
    axes.errorbar(
        place if upright else value,
        value if upright else place,
        xerr=None if upright else ends,
        yerr=ends if upright else None,
        fmt=marker,
        color=colour,
        markerfacecolor="none" if hollow else colour,
        capsize=3,
        linewidth=1.2,
    )
