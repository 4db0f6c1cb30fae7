"""The figures of the images and of what the audit found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from common.words import percent
from components.report.drawing import COLOURS, FAINT, INK, MOST_VALUES, Picture, picture
from components.report.images import NUMBERS, ImageFacts
from schema.class_tables import MOST_COLUMNS, shortened
from serving.explained import grey

# Of the contact sheet, each class.
SHEET_COLUMNS: Final = 6
# More classes have one image each, and of so many the rest has none.
SHEET_CLASSES: Final = 36
# Of an image there, pixels: its longest side, what is left below its title, and the title's height.
_CELL, _GAP, _TITLE = 128, 6, 14


def image_statistics(facts: Sequence[ImageFacts], classes: Sequence[str]) -> Picture:
    """Draw how the images' numbers lie, class by class."""
    named_upright = 3 < len(classes) <= MOST_COLUMNS
    figure, grid = plt.subplots(2, 3, figsize=(7.8, 6.4 if named_upright else 4.6))
    for axes, name in zip(grid.flat, NUMBERS, strict=True):
        values = [[f.numbers[name] for f in facts if f.label == i] for i in range(len(classes))]
        boxes = axes.boxplot(
            values,
            patch_artist=True,
            widths=0.6,
            showfliers=len(classes) <= MOST_COLUMNS,
            flierprops={"markersize": 2, "markeredgecolor": INK},
            medianprops={"color": INK},
            **{key: {"color": INK} for key in ("whiskerprops", "capprops", "boxprops")},
        )
        # Colours that come again would join what has nothing in common.
        colours = COLOURS if len(classes) <= len(COLOURS) else [FAINT] * len(classes)
        for box, colour in zip(boxes["boxes"], colours, strict=False):
            box.set_facecolor(colour)
        if len(classes) > MOST_COLUMNS:
            # As one picture: so many shapes are slow to draw.
            for artist in (one for part in boxes.values() for one in part):
                artist.set_rasterized(True)
            axes.set_xticks([])
            axes.set_xlabel("a class each", fontsize=8)
        else:
            names = [shortened(c, 16 if named_upright else 10) for c in classes]
            axes.set_xticks(
                range(1, len(classes) + 1), names, fontsize=8, rotation=90 if named_upright else 0
            )
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
    """Draw which values of the metadata go with which class; MOST_VALUES at most of a column.

    Where classes are more than colours, the largest class of each value stands against the rest.
    """
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
        for name, colour, width in _parts(values, classes):
            axes.barh(range(len(values)), width, left=left, color=colour, label=name)
            left += width
        axes.set_yticks(range(len(values)), [shortened(value) for value in values], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(column.replace("_", " "), loc="left")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside upper right",
        ncols=_legend_columns(classes),
    )
    return picture(
        figure,
        "metadata",
        caption="Images by metadata and class, all splits. A value that goes with one class alone "
        f"gives the class away.{left_out}",
        alt="Bar charts of images by " + ", ".join(shown) + ", coloured by class.",
    )


def _parts(
    values: Mapping[str, Mapping[str, int]], classes: Sequence[str]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield what each bar is put together of: name, colour and float [values]."""
    counts = np.array([[of_class[name] for name in classes] for of_class in values.values()], float)
    if len(classes) <= len(COLOURS):
        names = [shortened(name) for name in classes]
        yield from zip(names, COLOURS, counts.T, strict=False)
        return
    largest = counts.max(axis=1)
    yield "the class that most of them are of", COLOURS[0], largest
    yield "other classes", FAINT, counts.sum(axis=1) - largest


def _legend_columns(classes: Sequence[str]) -> int:
    longest = max(len(shortened(name)) for name in classes)
    return 3 if longest <= 18 and len(classes) <= len(COLOURS) else 2


def sheet_images(n_classes: int) -> int:
    """Return how many images of each class a contact sheet shows."""
    return SHEET_COLUMNS if n_classes <= MOST_COLUMNS else 1


def contact_sheet(files: Mapping[str, Sequence[bytes]]) -> Picture:
    """Draw some images of each class as they are; of many classes one each, SHEET_CLASSES at most.

    Args:
        files: class -> so many as `sheet_images` says.
    """
    if sheet_images(len(files)) > 1:
        rows = [
            [("" if x else shortened(name, 90), one) for x, one in enumerate(contents or [b""])]
            for name, contents in files.items()
        ]
        caption = "Test images of each class, drawn by their digest."
        alt = "Contact sheet: " + ", ".join(f"{len(f)} of {n}" for n, f in files.items()) + "."
        return picture(_sheet(rows, 9), "contact-sheet", caption=caption, alt=alt)
    there = ((name, contents[0]) for name, contents in files.items() if contents)
    first = dict(islice(there, SHEET_CLASSES))
    cells = [(shortened(name, 20), content) for name, content in first.items()]
    rows = [cells[at : at + SHEET_COLUMNS] for at in range(0, len(cells), SHEET_COLUMNS)]
    of_all = f" {len(first)} of {len(files)} classes." if len(first) < len(files) else ""
    return picture(
        _sheet(rows, 7),
        "contact-sheet",
        caption=f"A test image of each class, drawn by its digest.{of_all}",
        alt=f"Contact sheet: one image of each of {', '.join(first)}.",
    )


def _sheet(rows: Sequence[Sequence[tuple[str, bytes]]], points: int) -> Figure:
    """Draw images below their titles, in one pair of axes: one each takes three times as long.

    Args:
        rows: of titles and image files, either of which may be empty.
        points: of the titles.
    """
    pitch, above = _CELL + _GAP, _TITLE + _GAP
    width, height = SHEET_COLUMNS * pitch, max(len(rows), 1) * (_CELL + above)
    figure, axes = plt.subplots(figsize=(7.8, 7.8 * height / width))
    axes.set_axis_off()
    sheet = Image.new("RGBA", (width, height))
    for y, row in enumerate(rows):
        for x, (title, content) in enumerate(row):
            place = x * pitch, y * (_CELL + above) + above
            axes.text(place[0], place[1] - _GAP, title, fontsize=points)
            if content:
                sheet.paste(Image.fromarray(thumbnail(content, _CELL)), place)
    axes.imshow(sheet)
    return figure


def shortcuts(found: Sequence[Mapping[str, Any]], chance: float) -> Picture:
    """Draw how well the class is predicted from what isn't lungs.

    Of too many, what tells one class from the rest no better than guessing is left out first, and
    then what does so the least.
    """
    total = len(found)
    if total > MOST_VALUES:
        telling = [one for one in found if not one["against_rest"] or one["above_chance"]]
        best = sorted(telling, key=lambda o: (bool(o["against_rest"]), o["chance"] - o["accuracy"]))
        found = [one for one in telling if one in best[:MOST_VALUES]]
    cut = f" {len(found)} of {total} are drawn." if len(found) < total else ""
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.36 * len(found)))
    values = [one["accuracy"] for one in found]
    ends = np.array([one["wilson95"] for one in found]).T
    errors = np.maximum(np.abs(ends - np.array(values)), 0)
    axes.barh(
        range(len(found)), values, xerr=errors, color=COLOURS[1], ecolor=INK, capsize=3, alpha=0.8
    )
    axes.axvline(chance, color=INK, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(found)), [shortened(one["name"], 60) for one in found], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy on the test split\n(dotted: guessing; bar: 95 % interval)")
    spoken = "; ".join(f"{one['name']} {percent(one['accuracy'])}" for one in found)
    return picture(
        figure,
        "shortcuts",
        caption="How well simple models predict the class from things that are no lungs." + cut,
        alt=f"Accuracy of shortcuts: {spoken}; guessing {percent(chance)}.",
    )


def thumbnail(content: bytes, side: int) -> np.ndarray:
    """Turn an image file into grey levels, uint8 [at most side, at most side], of its shape."""
    image = grey(content)
    image.thumbnail((side, side))
    return np.asarray(image)
