"""Object stores for TFX's nodes: what fsspec reaches and TensorFlow doesn't.

TFX reads and writes through file systems that are registered by scheme. TensorFlow brings
gs://; with this, a step can push to s3:// as well, or to any store that an fsspec package is
installed for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from tfx.dsl.io import filesystem, filesystem_registry

# s3fs is among this project's packages; memory is fsspec's own, for tests.
SCHEMES: Final = ("s3://", "s3a://", "memory://")
# Below the plugins that TFX registers itself: a lower number is asked first.
_PRIORITY: Final = 5


class FsspecFilesystem(filesystem.Filesystem):
    """TFX's file system on fsspec. Folders exist where there are files below them."""

    SUPPORTED_SCHEMES: ClassVar[list[str]] = list(SCHEMES)

    @staticmethod
    def open(name: str, mode: str = "r") -> Any:
        system, path = _of(name)
        try:
            return system.open(path, mode)
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(f"{name}: there is no such file") from error

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        if not overwrite and FsspecFilesystem.exists(dst):
            raise OSError(f"{dst} is there already")
        system, path = _of(src)
        system.copy(path, _of(dst)[1])

    @staticmethod
    def exists(path: str) -> bool:
        system, inside = _of(path)
        return bool(system.exists(inside))

    @staticmethod
    def glob(pattern: str) -> list[str]:
        system, inside = _of(pattern)
        return [_named(pattern, found) for found in system.glob(inside)]

    @staticmethod
    def isdir(path: str) -> bool:
        system, inside = _of(path)
        return bool(system.isdir(inside))

    @staticmethod
    def listdir(path: str) -> list[str]:
        system, inside = _of(path)
        try:
            found = system.ls(inside, detail=False)
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(f"{path}: there is no such folder") from error
        # Some stores list the folder itself.
        names = (posixpath.basename(each.rstrip("/")) for each in found if each != inside)
        return sorted(names)

    @staticmethod
    def makedirs(path: str) -> None:
        system, inside = _of(path)
        system.makedirs(inside, exist_ok=True)

    @staticmethod
    def mkdir(path: str) -> None:
        FsspecFilesystem.makedirs(path)

    @staticmethod
    def remove(path: str) -> None:
        system, inside = _of(path)
        system.rm_file(inside)

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        if not overwrite and FsspecFilesystem.exists(dst):
            raise OSError(f"{dst} is there already")
        system, path = _of(src)
        system.mv(path, _of(dst)[1], recursive=True)

    @staticmethod
    def rmtree(path: str) -> None:
        system, inside = _of(path)
        system.rm(inside, recursive=True)

    @staticmethod
    def stat(path: str) -> Any:
        system, inside = _of(path)
        try:
            return system.stat(inside)
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(f"{path}: there is no such file") from error

    @staticmethod
    def walk(
        top: str, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        system, inside = _of(top)
        for folder, folders, files in system.walk(inside, topdown=topdown):
            yield _named(top, folder), list(folders), list(files)


def register_object_stores() -> None:
    """Make the schemes known to TFX in this process."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(FsspecFilesystem, _PRIORITY)


def _of(uri: str) -> tuple[Any, str]:
    import fsspec

    # Listings change behind a cache: other steps write, too.
    system, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return system, path


def _named(uri: str, path: str) -> str:
    """Return the path with the scheme that it was asked for by."""
    scheme = uri.partition("://")[0]
    return f"{scheme}://{path.lstrip('/')}"
