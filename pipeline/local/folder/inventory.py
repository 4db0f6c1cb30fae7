"""The state of each artifact's files when its run ended: OUTPUT/inventory.json.

The metadata store knows that an artifact is there, and nothing of its files. So a file that was cut
or lost is found here: by its size at once, by its SHA-256 where it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from pipeline.config.layout import OutputLayout

Files = Mapping[str, "FileState"]
# As TFX names them: <node>/<output>/<execution>, below OUTPUT/artifacts. Nothing that leads out.
_FOLDER: Final = re.compile(r"(?!\.)[^/\0]+/(?!\.)[^/\0]+/\d+")
_VALUE: Final = re.compile(r"/value\Z")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class FileState:
    """A file as it was.

    Attributes:
        size: bytes.
        sha256: of its content.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Damage:
    """A file that is no longer what a node wrote.

    Attributes:
        folder: of the artifact, below OUTPUT/artifacts.
        file: below that folder.
        how: a clause: what became of it.
    """

    folder: str
    file: str
    how: str

    @property
    def node(self) -> str:
        """The node that wrote it."""
        return self.folder.split("/")[0]


def folder_of(uri: str, layout: OutputLayout) -> str | None:
    """Return an artifact's folder below OUTPUT/artifacts; None where it doesn't lie there."""
    below = _VALUE.sub("", uri.removeprefix(f"{layout.artifacts}/"))
    return below if _FOLDER.fullmatch(below) else None


def read_inventory(layout: OutputLayout) -> dict[str, dict[str, FileState]]:
    """Read how each file of each artifact's folder was; empty where that wasn't taken down.

    Raises:
        InputError: the file is no inventory.
    """
    try:
        content = json.loads(layout.inventory.read_text(encoding="utf-8"))
        return {
            folder: {name: FileState(int(size), str(sha)) for name, (size, sha) in files.items()}
            for folder, files in content.items()
            if _FOLDER.fullmatch(folder)
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"output: {layout.inventory} is damaged ({error}). Remove it: the next run takes down "
            "anew what its artifacts hold."
        ) from error


def update_inventory(layout: OutputLayout, uris: Iterable[str]) -> None:
    """Take down the files of artifacts that it doesn't know yet, and forget those that are gone.

    Args:
        layout: of the output folder.
        uris: of artifacts that are finished.
    """
    before = read_inventory(layout)
    known = {folder: files for folder, files in before.items() if _is_there(layout, folder)}
    for folder in sorted({folder for uri in uris if (folder := folder_of(uri, layout))}):
        if folder not in known and _is_there(layout, folder):
            known[folder] = {
                name: FileState(path.stat().st_size, _sha256(path))
                for name, path in _files(layout.artifacts / folder)
            }
    if known != before:
        _write(layout, known)


def forget(layout: OutputLayout, folders: Collection[str]) -> None:
    """Take artifacts off the inventory."""
    known = read_inventory(layout)
    _write(layout, {folder: files for folder, files in known.items() if folder not in folders})


def _write(layout: OutputLayout, known: Mapping[str, Files]) -> None:
    content = {
        folder: {name: [state.size, state.sha256] for name, state in sorted(files.items())}
        for folder, files in sorted(known.items())
    }
    # At once: a run that is killed here leaves the file as it was.
    new = layout.inventory.with_name(f"{layout.inventory.name}.new")
    new.write_text(json.dumps(content, indent=0, ensure_ascii=False), encoding="utf-8")
    new.replace(layout.inventory)


def find_damage(
    layout: OutputLayout,
    inventory: Mapping[str, Files],
    folders: Iterable[str],
    *,
    contents: bool,
) -> list[Damage]:
    """Find files that aren't what they were.

    A folder that is gone as a whole is no damage: a user who deletes one wants it made again.

    Args:
        layout: of the output folder.
        inventory: of it.
        folders: where to look; those that it doesn't know are passed over.
        contents: read the files, too; else their sizes alone are looked at.
    """
    same: Callable[[Path, FileState], str | None] = _changed if contents else _resized
    return [
        Damage(folder, name, how)
        for folder in sorted(set(folders) & inventory.keys())
        if _is_there(layout, folder)
        for name, state in inventory[folder].items()
        if (how := same(layout.artifacts / folder / name, state))
    ]


def by_folder(damages: Iterable[Damage]) -> dict[str, list[Damage]]:
    """Sort damage by the artifact's folder."""
    found: dict[str, list[Damage]] = {}
    for damage in sorted(damages, key=lambda one: one.folder):
        found.setdefault(damage.folder, []).append(damage)
    return found


def _resized(path: Path, was: FileState) -> str | None:
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"can't be found ({error.strerror})"
    return f"has {size} bytes instead of {was.size}" if size != was.size else None


def _changed(path: Path, was: FileState) -> str | None:
    how = _resized(path, was)
    if how:
        return how
    try:
        return "has another content than was written" if _sha256(path) != was.sha256 else None
    except OSError as error:
        return f"can't be read ({error.strerror})"


def _is_there(layout: OutputLayout, folder: str) -> bool:
    return (layout.artifacts / folder).is_dir()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
