"""The images seen by models that another one goes on from.

`seen.json` beside a training's results, or among what is kept of a pushed version:
`{"hashes": […], "patients": […]}`, of the earlier models only. It is handed on from a pushed
version to the training that goes on from it, to the combinations of what was trained, and to
what is kept of their pushes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tfx.dsl.io import fileio

SEEN_FILE: Final = "seen.json"


@dataclass(frozen=True)
class Images:
    """Some images.

    Attributes:
        hashes: sha256 of each.
        patients: those known by name.
    """

    hashes: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()


def union(parts: Iterable[Images]) -> Images:
    """Join the parts: all images that are in one of them."""
    every = list(parts)
    return Images(
        frozenset().union(*(images.hashes for images in every)),
        frozenset().union(*(images.patients for images in every)),
    )


def write_seen(folder: str, images: Images) -> None:
    """Write the file into a folder, local or remote; none where there are no images."""
    if not images.hashes and not images.patients:
        return
    fileio.makedirs(folder)
    value = {"hashes": sorted(images.hashes), "patients": sorted(images.patients)}
    with fileio.open(os.path.join(folder, SEEN_FILE), "w") as file:
        file.write(json.dumps(value, ensure_ascii=False))


def read_seen(folder: str) -> Images:
    """Read the file in a folder, local or remote; nothing where there is none.

    Raises:
        ValueError: it isn't what `write_seen` writes.
    """
    path = os.path.join(folder, SEEN_FILE)
    if not fileio.exists(path):
        return Images()
    with fileio.open(path, "r") as file:
        value = json.loads(file.read())
    if not isinstance(value, dict) or value.keys() != {"hashes", "patients"}:
        raise ValueError(f"{path} doesn't say what was seen")
    return Images(frozenset(value["hashes"]), frozenset(value["patients"]))
