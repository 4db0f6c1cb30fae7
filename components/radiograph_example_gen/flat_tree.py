"""All files below a data folder, wherever they lie, for a table to name. Opens nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from components.radiograph_example_gen.discovery import list_names
from components.radiograph_example_gen.unread_folders import shown
from schema.image_names import is_skipped_folder


def files_below(root: Path, *, follow_links: bool = False) -> Iterator[Path]:
    """Yield all files, without those of masks, of systems and hidden ones.

    A folder that is a link is not gone into, unless it leads out of the data folder and links are
    followed: what it leads to inside is found where it lies.

    Args:
        root: the data folder.
        follow_links: also links to folders outside.

    Raises:
        InputError: a folder can't be read.
    """
    top = root.resolve()
    entered = {top}
    waiting = [root]
    while waiting:
        for path in list_names(waiting.pop()):
            if not path.is_dir():
                yield path
            elif not is_skipped_folder(path.name) and _may_enter(
                path, top, entered, follow_links=follow_links
            ):
                waiting.append(path)


def _may_enter(path: Path, top: Path, entered: set[Path], *, follow_links: bool) -> bool:
    if not path.is_symlink():
        return True
    place = path.resolve()
    # Inside, or above: all of it is listed anyway, and the second may go in a circle.
    if place.is_relative_to(top) or top.is_relative_to(place) or place in entered:
        return False
    entered.add(place)
    return follow_links


def named_beside(root: Path, names: Iterable[str], known: set[str]) -> Iterator[str]:
    """Yield names that are files although they are not among the known: behind a link, or hidden.

    Args:
        root: the data folder.
        names: as a table writes them, some of them more than once; read one at a time.
        known: paths that need no look.
    """
    told: set[str] = set()
    for name in names:
        if not name or name in known or name in told or leaves(name):
            continue
        # A name may be longer than any file's.
        with contextlib.suppress(OSError, ValueError):
            if (root / name).is_file():
                told.add(name)
                yield name


def leaves(name: str) -> bool:
    """Return whether a normal path leads out of the folder that it starts in, or may."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive)


def relative_names(root: Path, paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Part files by whether a table, which is UTF-8, can name them.

    Args:
        root: the data folder.
        paths: below it.

    Returns:
        Relative paths of those that it can, and of the others as texts can hold them; sorted.
    """
    can: list[str] = []
    cannot: list[str] = []
    for path in paths:
        text = shown(root, path)
        (can if text == path.relative_to(root).as_posix() else cannot).append(text)
    return sorted(can), sorted(cannot)


def inside(data_dir: str, path: str) -> str | None:
    """Return a file's path below the data folder, "/" separated; None where it lies elsewhere."""
    place, root = Path(path).resolve(), Path(data_dir).resolve()
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else None
