"""Folders with images that no class reads: counted, so that nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.radiograph_example_gen.readers import is_picture
from schema.image_names import IMAGES_FOLDER, is_skipped_folder

# So far down images are counted; a data folder may hold anything beside.
_DEPTH: Final = 4


@dataclass(frozen=True)
class Unread:
    """The count of what lies in a data folder where no class looks.

    Links are not followed, except for folders directly in the data folder: what they lead to is
    counted where it lies, if it lies there, and they may lead in a circle.

    Attributes:
        root: the data folder.
        taken: real paths of what is read by a link: images, and class folders.
    """

    root: Path
    taken: frozenset[str]

    def beside(self, subfolders: Iterable[Path]) -> Iterator[tuple[str, int]]:
        """Find folders that could be a class's, with how many images.

        Args:
            subfolders: that are no class's.
        """
        for folder in subfolders:
            images = [inner for inner in self._folders(folder) if _is_images(inner)]
            count = sum(self._directly(place) for place in (folder, *images))
            if count and not self._is_above(folder):
                yield folder.name, count

    def elsewhere(self, paths: Sequence[Path]) -> Iterator[tuple[str, int]]:
        """Find folders that are too deep to be read, with how many images; "." for the data folder.

        Args:
            paths: all that is directly in the data folder.
        """
        if loose := sum(self._is_image(path) for path in paths):
            yield ".", loose
        for folder in paths:
            if not folder.is_dir() or is_skipped_folder(folder.name) or self._is_above(folder):
                continue
            for inner in self._folders(folder):
                for deep in self._folders(inner) if _is_images(inner) else (inner,):
                    if count := self._below(deep):
                        yield shown(self.root, deep), count

    def _below(self, folder: Path, depth: int = _DEPTH) -> int:
        deeper = self._folders(folder) if depth > 1 else []
        return self._directly(folder) + sum(self._below(inner, depth - 1) for inner in deeper)

    def _directly(self, folder: Path) -> int:
        return sum(self._is_image(path) for path in _inside(folder))

    def _is_image(self, path: Path) -> bool:
        return is_picture(path.name) and path.is_file() and not self._is_taken(path)

    def _folders(self, folder: Path) -> list[Path]:
        return [
            path
            for path in _inside(folder)
            if path.is_dir()
            and not path.is_symlink()
            and not is_skipped_folder(path.name)
            and not self._is_taken(path)
        ]

    def _is_taken(self, path: Path) -> bool:
        return bool(self.taken) and os.path.realpath(path) in self.taken

    def _is_above(self, folder: Path) -> bool:
        return folder.is_symlink() and self.root.resolve().is_relative_to(folder.resolve())


def shown(root: Path, path: Path) -> str:
    """Write a path below the data folder as texts can hold it."""
    relative = path.relative_to(root).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _is_images(path: Path) -> bool:
    return path.name.casefold() == IMAGES_FOLDER


def _inside(folder: Path) -> list[Path]:
    """List what is in a folder; of one that can't be read, nothing would be taken anyway."""
    try:
        return sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError:
        return []
