"""Data folder → candidate image files. Looks at names only, opens nothing."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.layouts import METADATA_NAME, what_is_there
from components.radiograph_example_gen.readers import formats, is_read, unread_format
from components.radiograph_example_gen.settings import ClassFolders, plain
from components.radiograph_example_gen.unread_folders import Unread, shown
from schema.image_names import IMAGES_FOLDER, is_of_the_system, is_skipped_folder

FOLDER_NOT_READ: Final = "a folder other than images/ is not read"
_METADATA: Final = METADATA_NAME.removesuffix(".csv")
# Files that hold tables; only one CSV is read.
TABLE_SUFFIXES: Final = (
    *(".csv", ".tsv", ".tab", ".xlsx", ".xls", ".xlsm", ".ods", ".numbers"),
    *(".parquet", ".feather", ".sav", ".dta"),
)


class Kind(str, Enum):
    """The reason why something is listed in left_out.csv."""

    BAD = "bad"
    UNREAD_IMAGE = "image of another format"
    DUPLICATE = "duplicate"
    OTHER_FILE = "other file"
    METADATA = "metadata"
    LABEL = "label of no class"
    VIEW = "view that is not taken"
    FILE_WITHOUT_ROW = "file without metadata row"
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
    """An image to inspect; `path` is relative to the data folder, "/" separated."""

    path: str
    class_name: str


@dataclass(frozen=True)
class Discovery:
    """The content of the data folder.

    Attributes:
        candidates: files to inspect, sorted by path.
        left_out: files that are not inspected; those of kind BAD are images too.
        found: images a class (candidates and those of kind BAD or UNREAD_IMAGE).
        beside: folders with images that no class names -> how many images.
        tables: files directly in the folder that look like tables.
        unread: folders with images that no class reads, whatever its folders are -> how many, "."
            for the data folder itself.
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    found: dict[str, int]
    beside: dict[str, int] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    unread: dict[str, int] = field(default_factory=dict)


def discover(
    data_dir: str | Path, classes: Sequence[ClassFolders], *, follow_links: bool = False
) -> Discovery:
    """List the images of every class, in an order that depends on names alone.

    Folder names are compared without regard to case and Unicode's normal form; all folders of a
    class that exist are read, the files directly inside and those in `images/` below.

    Args:
        data_dir: the data folder.
        classes: and their folders.
        follow_links: also symbolic links that lead out of the data folder.

    Raises:
        InputError: no such folder, a class without a folder, or without an image.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise InputError(
            f"data.dir {str(root)!r} is not a folder: give the folder that holds the class folders."
        )
    subfolders = list_names(root)
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    found: dict[str, int] = {}
    read: list[Path] = []
    for entry in classes:
        folders = _class_folders(root, subfolders, entry)
        read += folders
        before = len(candidates)
        skipped = []
        for folder in folders:
            for item in _walk(root, folder, entry.name, follow_links=follow_links):
                if isinstance(item, Candidate):
                    candidates.append(item)
                else:
                    skipped.append(item)
        bad = sum(item.kind is Kind.BAD for item in skipped)
        other = [item for item in skipped if item.kind is Kind.UNREAD_IMAGE]
        found[entry.name] = len(candidates) - before + bad + len(other)
        if len(candidates) - before + bad == 0:
            deeper = dict(_unread(root, candidates, read).elsewhere(folders))
            raise InputError(
                f"class {entry.name!r}: no {formats()} in "
                f"{_join(folder.name for folder in folders)} of {str(root)!r} "
                f"(nor in images/ below){_what_is_there(other, deeper)}: put "
                f"{formats('s')} there, or correct data.classes."
            )
        left_out.extend(skipped)
    unread = _unread(root, candidates, read)
    named = {plain(name) for entry in classes for name in entry.folders}
    others = [
        path
        for path in subfolders
        if plain(path.name) not in named and path.is_dir() and not is_skipped_folder(path.name)
    ]
    tables = tuple(shown(root, path) for path in subfolders if is_table(path))
    return Discovery(
        tuple(sorted(candidates)),
        tuple(sorted(left_out)),
        found,
        dict(unread.beside(others)),
        tables,
        dict(unread.elsewhere(subfolders)),
    )


def is_table(path: Path) -> bool:
    """Return whether a file looks like a table, by its name."""
    plain_name = path.name.casefold()
    named = plain_name.endswith(TABLE_SUFFIXES) or plain_name.startswith(f"{_METADATA}.")
    return named and not path.is_dir()


def has_class_folder(root: Path, classes: Sequence[ClassFolders]) -> bool:
    """Return whether any class has a folder, or what should be one.

    Args:
        root: the data folder.
        classes: and their folders.

    Raises:
        InputError: the data folder can't be read.
    """
    wanted = {plain(name) for entry in classes for name in entry.folders}
    return any(plain(path.name) in wanted for path in list_names(root))


def _unread(root: Path, candidates: Iterable[Candidate], folders: Iterable[Path]) -> Unread:
    images = (root / candidate.path for candidate in candidates)
    links = (path for path in (*images, *folders) if path.is_symlink())
    return Unread(root, frozenset(map(os.path.realpath, links)))


def _what_is_there(other: Sequence[LeftOut], unread: Mapping[str, int]) -> str:
    formats = Counter(unread_format(item.path) for item in other)
    counted = [f"{count} {form}" for form, count in sorted(formats.items(), key=str)]
    counted += [f"{count} images in {path!r}" for path, count in unread.items() if path != "."]
    return f", but {' and '.join(counted)}" if counted else ""


def find_metadata(data_dir: str | Path, metadata_csv: str | None) -> Path | None:
    """Find the metadata: the path asked for, else metadata.csv in the data folder.

    The case of its name doesn't matter, where there is one such file alone.

    Raises:
        InputError: the path asked for is not a file; or metadata.csv is there, and is none.
    """
    if metadata_csv is None:
        return _default_metadata(Path(data_dir))
    path = Path(metadata_csv)
    if not path.is_file():
        raise InputError(
            f"data.metadata {metadata_csv!r} is not a file: correct the path, or leave it out."
        )
    return path


def _default_metadata(root: Path) -> Path | None:
    exact = root / METADATA_NAME
    if exact.is_file():
        return exact
    if os.path.lexists(exact):
        raise InputError(
            f"{str(exact)!r} is no file{_broken(exact)}: put the table there, remove "
            "it, or give the table as data.metadata."
        )
    alike = [path for path in list_names(root) if path.name.casefold() == METADATA_NAME]
    return alike[0] if len(alike) == 1 and alike[0].is_file() else None


def _broken(path: Path) -> str:
    return ", but a link that leads to none" if path.is_symlink() else ""


def _class_folders(root: Path, subfolders: Sequence[Path], entry: ClassFolders) -> list[Path]:
    wanted = {plain(name) for name in entry.folders}
    folders = [path for path in subfolders if plain(path.name) in wanted and path.is_dir()]
    broken = [path for path in subfolders if plain(path.name) in wanted and not path.is_dir()]
    if not folders and broken:
        raise InputError(
            f"class {entry.name!r}: {str(broken[0])!r} is no folder{_broken(broken[0])}: put the "
            "class's folder there, or correct the folders of the class in data.classes."
        )
    if not folders:
        raise InputError(
            f"class {entry.name!r}: {str(root)!r} has no sub-folder named {_join(entry.folders)}: "
            "create it, or correct the folders of the class in data.classes."
            f"{what_is_there(root)}"
        )
    return folders


def _walk(
    root: Path, folder: Path, class_name: str, *, follow_links: bool
) -> Iterator[Candidate | LeftOut]:
    for path in list_names(folder):
        if not path.is_dir() or is_read(path.name):
            yield _file(root, path, class_name, follow_links=follow_links)
        elif path.name.casefold() == IMAGES_FOLDER:
            for inner in list_names(path):
                if not inner.is_dir() or is_read(inner.name):
                    yield _file(root, inner, class_name, follow_links=follow_links)
                elif not is_skipped_folder(inner.name):
                    yield _other(root, inner, FOLDER_NOT_READ)
        elif not is_skipped_folder(path.name):
            yield _other(root, path, FOLDER_NOT_READ)


def _file(root: Path, path: Path, class_name: str, *, follow_links: bool) -> Candidate | LeftOut:
    name = shown(root, path)
    if not is_read(path.name):
        form = unread_format(path.name)
        if form is None:
            broken = path.is_symlink() and not path.exists()
            reason = "a link that leads nowhere" if broken else f"not a {formats()} by its name"
            return _other(root, path, reason)
        return LeftOut(name, Kind.UNREAD_IMAGE, f"{form} by its name, and only {formats()} is read")
    if not _is_utf8(path):
        return LeftOut(name, Kind.BAD, "the file name is not UTF-8: rename the file")
    reason = link_problem(root, path, follow_links=follow_links)
    return LeftOut(name, Kind.BAD, reason) if reason else Candidate(name, class_name)


def _other(root: Path, path: Path, reason: str) -> LeftOut:
    return LeftOut(shown(root, path), Kind.OTHER_FILE, reason)


def list_names(folder: Path) -> list[Path]:
    """List what is directly in a folder, by name, without what systems put there.

    Raises:
        InputError: it can't be read.
    """
    try:
        paths = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be read: {error.strerror}.") from error
    return [path for path in paths if not is_of_the_system(path.name)]


def link_problem(root: Path, path: Path, *, follow_links: bool) -> str:
    """Say why a symbolic link is not followed; empty where it is, or where there is none.

    Args:
        root: the data folder.
        path: of an image below.
        follow_links: also links that lead out of the data folder.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a symbolic link that leads back to itself"
        # The read that follows names the reason.
        return ""
    place = path.resolve()
    if follow_links or place.is_relative_to(root.resolve()):
        return ""
    return (
        "a symbolic link out of the data folder: set data.follow_links to true, or copy the image "
        "into it"
    )


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _join(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
