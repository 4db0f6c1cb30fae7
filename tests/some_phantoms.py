"""Some of the golden run's phantoms, for what needs no more of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path


def copy_some(phantoms: Path, folder: Path, per_class: Sequence[int]) -> Path:
    """Copy the first images of each class, and their rows of metadata.csv.

    Args:
        phantoms: of `phantom_folder`.
        folder: new.
        per_class: how many, by the names of the classes' folders.

    Returns:
        The folder.
    """
    classes = sorted(filter(Path.is_dir, phantoms.iterdir()))
    for images, count in zip(classes, per_class, strict=True):
        (folder / images.name).mkdir(parents=True)
        for image in sorted(images.glob("*.png"))[:count]:
            shutil.copy(image, folder / images.name)
    header, *rows = (phantoms / "metadata.csv").read_text().splitlines(keepends=True)
    known = [row for row in rows if (folder / row.partition(",")[0]).exists()]
    (folder / "metadata.csv").write_text("".join([header, *known]))
    return folder
