"""Folders that appear whole, are never changed, and are known by the digests of their files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from common.digests import digest_of
from serving.openvino_repository import file_digest

KEY: Final = re.compile(r"[0-9a-f]{64}")
_DESCRIPTION: Final = "files.json"
# What nobody has asked for so long is removed.
_KEEP_SECONDS: Final = 30 * 24 * 3600
# A process that writes holds a lock on its folder's file; what is older has none.
_ABANDONED_SECONDS: Final = 24 * 3600
_UNFINISHED: Final = ".tmp-"


class DamagedError(Exception):
    """A folder isn't as it was written."""


class Folders:
    """A folder of kinds, in each a folder a key, with a description of its files.

    Several threads and processes may use it at once.
    """

    def __init__(self, root: Path) -> None:
        """Name it.

        Args:
            root: need not be there, nor be writable.
        """
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Name a folder, which need not be there."""
        return self.root / kind / key

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        """Read what was told of a folder, and compare its files; None where there is none.

        Raises:
            DamagedError: a file is missing, is another, or lies elsewhere.
        """
        folder = self.path(kind, key)
        return self._checked(folder) if folder.is_dir() else None

    def write(
        self, kind: str, key: str, content: Mapping[str, Any], fill: Callable[[Path], object]
    ) -> None:
        """Write a folder; one that is there already, and whole, is left as it is.

        Args:
            kind: of it.
            key: of it.
            content: what is to be told of it, as JSON can hold it.
            fill: writes its files.

        Raises:
            OSError: it can't be written.
        """
        target = self.path(kind, key)
        with contextlib.suppress(DamagedError):
            if self.read(kind, key) is not None:
                touch(target)
                return
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            fill(folder)
            _describe(folder, content)
            folder.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            # Who was faster has written the same.
            with contextlib.suppress(FileExistsError):
                _rename(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, kind: str, key: str) -> None:
        """Remove a folder that is damaged."""
        shutil.rmtree(self.path(kind, key), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what nobody has used for a month, and what a killed process left."""
        now = time.time()
        for folder in _entries(self.root):
            if folder.name.startswith(_UNFINISHED):
                if _age(folder, now) > _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            for inner in _entries(folder):
                if KEY.fullmatch(inner.name) and _age(inner, now) > _KEEP_SECONDS:
                    shutil.rmtree(inner, ignore_errors=True)

    def _checked(self, folder: Path) -> dict[str, Any]:
        try:
            description: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
            digest = description.pop("digest")
            files = {str(name): str(wanted) for name, wanted in description["files"].items()}
            unchanged = digest == digest_of(description)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{folder / _DESCRIPTION}: {error!r}") from error
        if not unchanged:
            raise DamagedError(f"{folder / _DESCRIPTION} was changed")
        inside = self.root.resolve()
        for name, wanted in files.items():
            file = folder / name
            try:
                same = file.resolve().is_relative_to(inside) and file_digest(file) == wanted
            except OSError as error:
                raise DamagedError(f"{file}: {error}") from error
            if not same:
                raise DamagedError(f"{file} was changed")
        return description


def files_of(path: Path) -> list[Path]:
    """List a file itself, or the files below a folder, in the order of their names."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def touch(folder: Path) -> None:
    """Tell by its time of change that a folder is in use, where that may be told."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _describe(folder: Path, content: Mapping[str, Any]) -> None:
    files = {file.relative_to(folder).as_posix(): file_digest(file) for file in files_of(folder)}
    description = {**content, "files": files}
    text = json.dumps({**description, "digest": digest_of(description)}, indent=1)
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        # What Linux says of a folder that isn't empty.
        if target.is_dir():
            raise FileExistsError(str(target)) from error
        raise


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _age(folder: Path, now: float) -> float:
    try:
        return now - folder.stat().st_mtime
    except OSError:
        return 0.0
