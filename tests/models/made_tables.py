"""Made taps of an image beside made columns of a table, both with a part of the answer."""

from __future__ import annotations

import numpy as np

from models.training_data import ImageTaps
from schema.table import TableColumn

COLUMNS = (
    TableColumn("crp", "crp_val", "numeric", presence=True),
    TableColumn("ldh", "ldh_val", "numeric"),
    TableColumn("ward", "ward", "categorical", values=4),
    TableColumn("notes", "notes", "text", buckets=8),
)
WITHIN = {"cnn_last": float(1 / 600) ** 0.5}
CLASSES = 3


def made_images(
    count: int, *, seed: int = 0, image: float = 0.5, table: float = 0.9, missing: float = 0.2
) -> ImageTaps:
    """Draw images of three classes, two of a patient.

    Args:
        count: of images, even.
        seed: of what is drawn for the images; where the classes lie is always the same.
        image: how far apart the classes lie in the taps.
        table: the same of the columns.
        missing: share of the cells that are empty.
    """
    fixed = np.random.default_rng(11)
    mixing = fixed.normal(size=(100, 600))
    centres = {c.name: fixed.normal(size=(CLASSES, c.width)) for c in COLUMNS}
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(count // 2) % CLASSES), 2)
    hidden = rng.normal(size=(count, 100)) * (1 + np.arange(100)) ** -0.75
    hidden[np.arange(count), 8 + labels] += image
    taps = {"cnn_last": hidden @ mixing + 0.3 * rng.normal(size=(count, 600))}
    for column in COLUMNS:
        values = rng.normal(size=(count, column.width)) + table * centres[column.name][labels]
        if column.kind != "numeric":
            values = np.maximum(values, 0)
        if column.presence:
            values[:, -1] = 1
        values[rng.random(count) < missing] = 0
        taps[column.transformed] = values
    numbers = np.arange(count)
    return ImageTaps(
        {name: values.astype(np.float32) for name, values in taps.items()},
        numbers,
        numbers,
        labels,
        tuple(f"{row:064x}" for row in range(count)),
        tuple(f"p{row // 2}" for row in range(count)),
    )
