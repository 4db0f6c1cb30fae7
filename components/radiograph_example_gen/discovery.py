"""Data folder → candidate image files. Looks at names only, opens nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from components.radiograph_example_gen.settings import ClassFolders
from schema.errors import InputError

IMAGE_SUFFIX = ".png"
IMAGES_FOLDER = "images"
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini"})
# The lung masks that come with the Kaggle set are PNGs, but not radiographs.
IGNORED_FOLDERS = frozenset({"masks"})
METADATA_NAME = "metadata.csv"


class Kind(str, Enum):
    """Why something is listed in left_out.csv."""

    BAD = "bad"
    DUPLICATE = "duplicate"
    OTHER_FILE = "other file"
    METADATA = "metadata"
    ROW_WITHOUT_IMAGE = "metadata row without image"
    DOWN_SAMPLED = "down-sampled"
    PATIENT = "patient in two splits"


@dataclass(frozen=True, order=True)
class LeftOut:
    """A file or metadata row that was not used as it stands."""

    path: str
    kind: Kind
    reason: str


@dataclass(frozen=True, order=True)
class Candidate:
    """A PNG to inspect; `path` is relative to the data folder, "/" separated."""

    path: str
    class_name: str


@dataclass(frozen=True)
class Discovery:
    """What the data folder holds.

    Attributes:
        candidates: files to inspect, sorted by path.
        left_out: files that are not inspected; those of kind BAD are images too.
        found: images a class (candidates and those of kind BAD).
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    found: dict[str, int]


def discover(data_dir: str | Path, classes: Sequence[ClassFolders]) -> Discovery:
    """List the images of every class, in an order that depends on names alone.

    Folder names are compared without regard to case; all folders of a class that
    exist are read, the files directly inside and those in `images/` below.

    Raises:
        InputError: no such folder, a class without a folder, or without a PNG.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise InputError(
            f"data.dir {str(root)!r} is not a folder: give the folder that holds the class folders."
        )
    subfolders = _list(root)
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    found: dict[str, int] = {}
    for entry in classes:
        folders = _class_folders(root, subfolders, entry)
        before = len(candidates)
        skipped = []
        for folder in folders:
            for item in _walk(root, folder, entry.name):
                if isinstance(item, Candidate):
                    candidates.append(item)
                else:
                    skipped.append(item)
        found[entry.name] = (
            len(candidates) - before + sum(item.kind is Kind.BAD for item in skipped)
        )
        if not found[entry.name]:
            raise InputError(
                f"class {entry.name!r}: no {IMAGE_SUFFIX} file in "
                f"{_join(folder.name for folder in folders)} of {str(root)!r} "
                f"(nor in images/ below): put the images there, or correct data.classes."
            )
        left_out.extend(skipped)
    return Discovery(tuple(sorted(candidates)), tuple(sorted(left_out)), found)


def find_metadata(data_dir: str | Path, metadata_csv: str | None) -> Path | None:
    """Where the metadata is: the path asked for, else metadata.csv in the data folder.

    Raises:
        InputError: the path asked for is not a file.
    """
    if metadata_csv is None:
        default = Path(data_dir) / METADATA_NAME
        return default if default.is_file() else None
    path = Path(metadata_csv)
    if not path.is_file():
        raise InputError(
            f"data.metadata {metadata_csv!r} is not a file: correct the path, or leave it out."
        )
    return path


def _class_folders(root: Path, subfolders: Sequence[Path], entry: ClassFolders) -> list[Path]:
    wanted = {name.casefold() for name in entry.folders}
    folders = [path for path in subfolders if path.name.casefold() in wanted and path.is_dir()]
    if not folders:
        raise InputError(
            f"class {entry.name!r}: {str(root)!r} has no sub-folder named {_join(entry.folders)}: "
            f"create it, or correct the folders of the class in data.classes."
        )
    return folders


def _walk(root: Path, folder: Path, class_name: str) -> Iterator[Candidate | LeftOut]:
    for path in _list(folder):
        name = path.name.casefold()
        if name.endswith(IMAGE_SUFFIX):
            yield _judge(root, path, class_name)
        elif not path.is_dir():
            yield _other(root, path, "not a PNG by its name")
        elif name == IMAGES_FOLDER:
            for inner in _list(path):
                if inner.name.casefold().endswith(IMAGE_SUFFIX):
                    yield _judge(root, inner, class_name)
                else:
                    yield _other(root, inner, "not a PNG by its name")
        elif name not in IGNORED_FOLDERS:
            yield _other(root, path, "a folder other than images/ is not read")


def _judge(root: Path, path: Path, class_name: str) -> Candidate | LeftOut:
    shown = _shown(root, path)
    if not _is_utf8(path):
        return LeftOut(shown, Kind.BAD, "the file name is not UTF-8: rename the file")
    if not _resolves_inside(root, path):
        reason = "a symbolic link out of the data folder: copy the image into it"
        return LeftOut(shown, Kind.BAD, reason)
    return Candidate(shown, class_name)


def _other(root: Path, path: Path, reason: str) -> LeftOut:
    return LeftOut(_shown(root, path), Kind.OTHER_FILE, reason)


def _list(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be read: {error.strerror}.") from error
    return [
        path
        for path in paths
        if not path.name.startswith(".") and path.name.casefold() not in IGNORED_NAMES
    ]


def _resolves_inside(root: Path, path: Path) -> bool:
    # A loop of links makes resolve() raise; the read that follows names the reason.
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return True


def _shown(root: Path, path: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _join(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
