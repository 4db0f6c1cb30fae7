"""The figures of the images and of what the audit found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np

from components.report.drawing import COLOURS, INK, MOST_VALUES, Picture, picture
from components.report.images import NUMBERS, ImageFacts
from components.report.words import percent
from serving.explained import grey

# Of the contact sheet, each class.
SHEET_COLUMNS: Final = 6


def image_statistics(facts: Sequence[ImageFacts], classes: Sequence[str]) -> Picture:
    """How the images' numbers lie, class by class."""
    figure, grid = plt.subplots(2, 3, figsize=(7.8, 4.6))
    for axes, name in zip(grid.flat, NUMBERS, strict=True):
        values = [[f.numbers[name] for f in facts if f.label == i] for i in range(len(classes))]
        boxes = axes.boxplot(
            values,
            patch_artist=True,
            widths=0.6,
            flierprops={"markersize": 2, "markeredgecolor": INK},
            medianprops={"color": INK},
            **{key: {"color": INK} for key in ("whiskerprops", "capprops", "boxprops")},
        )
        for box, colour in zip(boxes["boxes"], COLOURS, strict=False):
            box.set_facecolor(colour)
        axes.set_xticks(range(1, len(classes) + 1), [_short(c) for c in classes], fontsize=8)
        axes.set_title(name)
    return picture(
        figure,
        "image-statistics",
        caption="The images' statistics by class, all splits. Where boxes differ, a model can tell "
        "classes apart without looking at lungs.",
        alt="Box plots of " + ", ".join(NUMBERS) + " by class " + ", ".join(classes) + ".",
    )


def columns(
    counts: Mapping[str, Mapping[str, Mapping[str, int]]], classes: Sequence[str]
) -> Picture:
    """Which values of the metadata go with which class; MOST_VALUES at most of a column."""
    shown = {column: values for column, values in counts.items() if 1 < len(values) <= MOST_VALUES}
    crowded = [column for column, values in counts.items() if len(values) > MOST_VALUES]
    left_out = f" Not drawn, for its many values: {', '.join(crowded)}." if crowded else ""
    heights = [len(values) for values in shown.values()] or [1]
    figure, grid = plt.subplots(
        len(heights), 1, figsize=(7.2, 0.8 + 0.42 * sum(heights) + 0.5 * len(heights)),
        height_ratios=heights, squeeze=False,
    )  # fmt: skip
    for axes, (column, values) in zip(grid[:, 0], shown.items(), strict=False):
        left = np.zeros(len(values))
        for name, colour in zip(classes, COLOURS, strict=False):
            width = np.array([of_class[name] for of_class in values.values()], float)
            axes.barh(range(len(values)), width, left=left, color=colour, label=name)
            left += width
        axes.set_yticks(range(len(values)), list(values), fontsize=8)
        axes.invert_yaxis()
        axes.set_title(column.replace("_", " "), loc="left")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return picture(
        figure,
        "metadata",
        caption="Images by metadata and class, all splits. A value that goes with one class alone "
        f"gives the class away.{left_out}",
        alt="Bar charts of images by " + ", ".join(shown) + ", coloured by class.",
    )


def contact_sheet(files: Mapping[str, Sequence[bytes]]) -> Picture:
    """Some images of each class, as they are."""
    rows = len(files)
    figure, grid = plt.subplots(rows, SHEET_COLUMNS, figsize=(7.8, 1.45 * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, contents) in zip(grid, files.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=9)
        for axes, content in zip(row, contents, strict=False):
            axes.imshow(thumbnail(content, 128), cmap="gray", vmin=0, vmax=255)
    return picture(
        figure,
        "contact-sheet",
        caption="Test images of each class, drawn by their digest.",
        alt="Contact sheet: " + ", ".join(f"{len(f)} of {n}" for n, f in files.items()) + ".",
    )


def shortcuts(found: Sequence[Mapping[str, Any]], chance: float) -> Picture:
    """How well the class is predicted from what isn't lungs."""
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.36 * len(found)))
    values = [one["accuracy"] for one in found]
    ends = np.array([one["wilson95"] for one in found]).T
    errors = np.maximum(np.abs(ends - np.array(values)), 0)
    axes.barh(
        range(len(found)), values, xerr=errors, color=COLOURS[1], ecolor=INK, capsize=3, alpha=0.8
    )
    axes.axvline(chance, color=INK, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(found)), [one["name"] for one in found], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy on the test split (dotted: guessing; bar: 95 % interval)")
    spoken = "; ".join(f"{one['name']} {percent(one['accuracy'])}" for one in found)
    return picture(
        figure,
        "shortcuts",
        caption="How well simple models predict the class from things that are no lungs.",
        alt=f"Accuracy of shortcuts: {spoken}; guessing {percent(chance)}.",
    )


def thumbnail(content: bytes, side: int) -> np.ndarray:
    """An image file as grey levels, uint8 [at most side, at most side]; its shape is kept."""
    image = grey(content)
    image.thumbnail((side, side))
    return np.asarray(image)


def _short(name: str) -> str:
    return name if len(name) <= 10 else name[:9] + "…"
