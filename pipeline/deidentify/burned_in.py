"""Looks for text that is burned into an image: for a person to look at, not to remove.

It finds rows of at least three strokes of one height and strong contrast, near the image's edges,
where scanners and film printers write. A lone side marker (L, R) is no row. Handwriting, faint
text and text in the middle aren't found; so an image that isn't flagged may hold text all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

# Pixels of the longer side that are looked at: letters of 12 pixels in 3,000 still have 6.
_SIDE: Final = 1536
# Share of each side that is border.
_BORDER: Final = 0.2
# Share of the image's range of grey levels by which strokes stand out.
_CONTRAST: Final = 0.3
_LEAST_HEIGHT: Final = 5
# Share of the longer side that a letter has at most.
_MOST_HEIGHT: Final = 0.06
_LETTERS: Final = 3


@dataclass(frozen=True)
class TextBox:
    """A place that looks like text.

    Attributes:
        top: first row, as a share of the height.
        left: first column, as a share of the width.
        bottom: first row below it.
        right: first column beside it.
        letters: how many strokes it has.
    """

    top: float
    left: float
    bottom: float
    right: float
    letters: int


@dataclass(frozen=True)
class _Letter:
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def find_text(pixels: np.ndarray) -> list[TextBox]:
    """Find what looks like text near the edges.

    Args:
        pixels: [height, width] or [height, width, colours], of any type of numbers.

    Returns:
        Places, from the top.
    """
    grey = np.asarray(pixels, np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=-1)
    step = max(1, -(-max(grey.shape) // _SIDE))
    boxes = []
    for image in (_largest(grey, step), _largest(-grey, step)):
        boxes += _bright_text(image)
    return sorted(boxes, key=lambda box: (box.top, box.left))


def _largest(grey: np.ndarray, step: int) -> np.ndarray:
    """Make an image smaller without losing thin bright strokes."""
    height, width = (size // step * step for size in grey.shape)
    blocks = grey[:height, :width].reshape(height // step, step, width // step, step)
    return blocks.max(axis=(1, 3))


def _bright_text(image: np.ndarray) -> list[TextBox]:
    if min(image.shape) < 8 * _LEAST_HEIGHT:
        return []
    low, high = np.percentile(image, (0.5, 99.5))
    # A few words are too few pixels for a percentile.
    span = max(high - low, (image.max() - image.min()) / 2)
    if span <= 0:
        return []
    tallest = max(_LEAST_HEIGHT, int(_MOST_HEIGHT * max(image.shape)))
    # Strokes are narrow: what is left of them by an opening wider than they are is the background.
    wide = max(7, tallest // 3)
    strokes = image - ndimage.grey_opening(image, size=(wide, wide)) > _CONTRAST * span
    labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    letters = []
    for rows, columns in filter(None, ndimage.find_objects(labels)):
        letter = _Letter(rows.start, columns.start, rows.stop, columns.stop)
        width = letter.right - letter.left
        if _LEAST_HEIGHT <= letter.height <= tallest and width <= 1.6 * letter.height:
            letters.append(letter)
    return [_box(row, image.shape) for row in _rows(letters) if _in_border(row, image.shape)]


def _rows(letters: list[_Letter]) -> list[list[_Letter]]:
    """Put letters of one height that stand beside each other together."""
    rows: list[list[_Letter]] = []
    for letter in sorted(letters, key=lambda letter: letter.left):
        for row in rows:
            last = row[-1]
            height = max(last.height, letter.height)
            if (
                min(last.height, letter.height) >= 0.6 * height
                and abs(last.bottom - letter.bottom) <= 0.35 * height
                and -0.5 * height <= letter.left - last.right <= 1.5 * height
            ):
                row.append(letter)
                break
        else:
            rows.append([letter])
    return [row for row in rows if len(row) >= _LETTERS]


def _in_border(row: list[_Letter], shape: tuple[int, ...]) -> bool:
    height, width = shape
    middle = (row[0].top + row[-1].bottom) / 2 / height
    left, right = row[0].left / width, row[-1].right / width
    inner = 1 - _BORDER
    return not (_BORDER < middle < inner and left > _BORDER and right < inner)


def _box(row: list[_Letter], shape: tuple[int, ...]) -> TextBox:
    height, width = shape
    return TextBox(
        round(min(letter.top for letter in row) / height, 3),
        round(row[0].left / width, 3),
        round(max(letter.bottom for letter in row) / height, 3),
        round(max(letter.right for letter in row) / width, 3),
        len(row),
    )
