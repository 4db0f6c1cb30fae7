"""Notes who refers to which networks of a store, and removes the others.

A note says who: the folder of Featurizer's artifact, or that of a study. It counts as long as that
folder is there. Whether a folder of another machine is there, nobody knows here: its note counts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from models.feature_store import parts
from models.feature_store.store import KEY_FILE, read_json, write_json

_NOTES: Final = "used-by"
# A file without its index may still be written; after that time nobody does.
_LEFT_AFTER_SECONDS: Final = 24 * 3600.0
_NANOSECONDS: Final = 1e9


@dataclass(frozen=True)
class Network:
    """A network in a store.

    Attributes:
        name: of its folder.
        key: what its features depend on; empty where that can't be read.
        images: of which there are features, each augmentation counted.
        size: in bytes, of everything.
        left: bytes of what writers that were killed left, and of what is damaged.
        used_by: folders of those who refer to it.
    """

    name: str
    key: dict[str, Any]
    images: int
    size: int
    left: int
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class Removed:
    """The files that were removed, or would be.

    Attributes:
        what: folder's or file's path -> bytes.
    """

    what: dict[str, int]

    @property
    def size(self) -> int:
        """All bytes together."""
        return sum(self.what.values())


def note(root: str, who: str, networks: Iterable[str]) -> None:
    """Write down who refers to some networks; what was noted of the same one before goes.

    Args:
        root: of the store.
        who: folder or URI that lasts as long as the reference does.
        networks: their folders' names.
    """
    folder = os.path.join(root, _NOTES)
    tf.io.gfile.makedirs(folder)
    place = _relative(root, who)
    name = hashlib.sha256(place.encode()).hexdigest()[:32]
    value = {"who": place, "host": platform.node(), "networks": sorted(set(networks))}
    write_json(os.path.join(folder, f"{name}.json"), value)


def look(root: str) -> list[Network]:
    """List the networks of a store, by backbone.

    Args:
        root: of the store; needn't exist.
    """
    used: dict[str, list[str]] = {}
    for _, value in _notes(root):
        if _counts(root, value):
            for name in value["networks"]:
                used.setdefault(name, []).append(_absolute(root, value["who"]))
    networks = []
    for name in _folders(root):
        folder = os.path.join(root, name)
        stems = parts.parts_of(folder)
        images = {key for stem in stems for key, _ in parts.read_index(stem, mend=False)}
        sizes = _sizes(folder)
        networks.append(
            Network(
                name,
                read_json(os.path.join(folder, KEY_FILE)) or {},
                len(images),
                sum(sizes.values()),
                sum(sizes[path] for path in _left(sizes)),
                tuple(sorted(used.get(name, ()))),
            )
        )
    return sorted(networks, key=lambda network: (str(network.key.get("backbone")), network.name))


def clean(root: str, *, dry_run: bool) -> Removed:
    """Remove the networks that nobody refers to, notes of those who are gone, and rests of files.

    Args:
        root: of the store.
        dry_run: remove nothing.

    Returns:
        What went, or would go.
    """
    removed: dict[str, int] = {}
    for network in look(root):
        folder = os.path.join(root, network.name)
        if not network.used_by:
            removed[folder] = network.size
            if not dry_run:
                tf.io.gfile.rmtree(folder)
            continue
        sizes = _sizes(folder)
        for path in _left(sizes):
            removed[path] = sizes[path]
            if not dry_run:
                tf.io.gfile.remove(path)
    for path, value in _notes(root):
        if not dry_run and not _counts(root, value):
            tf.io.gfile.remove(path)
    return Removed(removed)


def _notes(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    folder = os.path.join(root, _NOTES)
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, "*.json"))):
        value = read_json(path)
        if isinstance(value, dict) and "who" in value and "networks" in value:
            yield path, value


def _counts(root: str, value: Mapping[str, Any]) -> bool:
    """Return whether who wrote a note is there, or may be there."""
    elsewhere = Path(value["who"]).is_absolute() and value.get("host") != platform.node()
    return elsewhere or tf.io.gfile.exists(_absolute(root, value["who"]))


def _folders(root: str) -> list[str]:
    if not tf.io.gfile.isdir(root):
        return []
    names = sorted(name.rstrip("/") for name in tf.io.gfile.listdir(root))
    # What has no key was not written by a store, so it is nothing to remove.
    return [n for n in names if tf.io.gfile.exists(os.path.join(root, n, KEY_FILE))]


def _sizes(folder: str) -> dict[str, int]:
    found = tf.io.gfile.walk(folder)
    paths = sorted(os.path.join(place, name) for place, _, names in found for name in names)
    return {path: tf.io.gfile.stat(path).length for path in paths}


def _left(paths: Collection[str]) -> list[str]:
    """List what counts no more: unfinished files, damaged indexes, and data without an index."""
    return [
        path
        for path in paths
        if path.endswith(parts.DAMAGED)
        or path.removesuffix(parts.DATA) + parts.DAMAGED in paths
        or (_is_part_of_none(path, paths) and _is_old(path))
    ]


def _is_part_of_none(path: str, paths: Collection[str]) -> bool:
    if path.endswith(parts.UNFINISHED):
        return True
    return path.endswith(parts.DATA) and path.removesuffix(parts.DATA) + parts.INDEX not in paths


def _is_old(path: str) -> bool:
    return time.time() - tf.io.gfile.stat(path).mtime_nsec / _NANOSECONDS > _LEFT_AFTER_SECONDS


def _relative(root: str, who: str) -> str:
    """Return a place relative to the store, where both are in one output folder: it may move."""
    if "://" in root or "://" in who:
        return who
    here, below = Path(root).resolve(), Path(who).resolve()
    return os.path.relpath(below, here) if below.is_relative_to(here.parent) else str(below)


def _absolute(root: str, place: str) -> str:
    return place if "://" in place else os.path.normpath(Path(root).resolve() / place)
