"""The names by which files and folders are images: the same in training and in prediction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# What systems put beside the user's files.
IGNORED_NAMES: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
# The lung masks that come with the Kaggle set are PNGs, but not radiographs.
IGNORED_FOLDERS: Final = frozenset({"masks"})
# The one folder in a class's folder that is read, too.
IMAGES_FOLDER: Final = "images"
# What `cxr predict` takes for an image in a folder, beside what is a DICOM by its content.
IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def is_of_the_system(name: str) -> bool:
    """Return whether a file or folder isn't the user's: hidden (`._x.png`), or a system's own."""
    return name.startswith(".") or name.casefold() in IGNORED_NAMES


def is_skipped_folder(name: str) -> bool:
    """Return whether a folder holds no radiographs: masks, hidden ones, `__MACOSX`."""
    return is_of_the_system(name) or name.casefold() in IGNORED_FOLDERS


def is_image(name: str, suffixes: Iterable[str]) -> bool:
    """Return whether a file is an image to read.

    Args:
        name: of the file, without its folder.
        suffixes: that images have, in lower case.
    """
    return name.casefold().endswith(tuple(suffixes)) and not is_of_the_system(name)
