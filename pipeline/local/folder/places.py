"""Paths in the metadata store are absolute: what becomes of them where OUTPUT was copied or moved.

They are rewritten, all at once, in SQL: ML Metadata's own API would give each artifact a new time
of change, which is part of TFX's cache key. So a folder that is moved back finds its cache again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from pipeline.config.layout import OutputLayout
from pipeline.local.folder.store_check import sqlite_of

# OUTPUT/artifacts/<node>/<output>/<execution>, with a file below where the artifact is a value.
_PLACE: Final = re.compile(r"(?P<root>/.*)/artifacts/(?P<below>[^/]+/[^/]+/\d+(?:/value)?)", re.S)
# Folders of OUTPUT that properties name.
_FOLDERS: Final = "artifacts|pushed|report|serving|splits"
_COLUMNS: Final = (
    ("Artifact", "uri"),
    ("ArtifactProperty", "string_value"),
    ("ExecutionProperty", "string_value"),
    ("ContextProperty", "string_value"),
)


def root_of(uri: str) -> str | None:
    """Return the output folder below which a URI says that it lies; None where it is none."""
    place = _PLACE.fullmatch(uri)
    return place["root"] if place else None


def own_place(uri: str, layout: OutputLayout) -> str:
    """Return where an artifact lies in this output folder, whatever folder its URI names.

    Args:
        uri: of the store.
        layout: of the output folder in which the store lies.
    """
    place = _PLACE.fullmatch(uri)
    return f"{layout.artifacts}/{place['below']}" if place else uri


def relocate(layout: OutputLayout) -> list[Path]:
    """Make the store name the files in its own folder, and none in the folder it was copied from.

    Args:
        layout: of an output folder that has a store.

    Returns:
        The folders that it named instead; empty where all was right.
    """
    own = str(layout.root.resolve())
    with sqlite_of(layout) as connection:
        uris = connection.execute("SELECT uri FROM Artifact WHERE uri IS NOT NULL")
        others = sorted({root for (uri,) in uris if (root := root_of(uri))} - {own})
        if others:
            connection.create_function("moved", 1, _mover(others, own), deterministic=True)
            for table, column in _COLUMNS:
                # Only constants of this module.
                connection.execute(
                    f"UPDATE {table} SET {column} = moved({column}) "
                    f"WHERE {column} IS NOT NULL AND moved({column}) <> {column}"
                )
    return [Path(other) for other in others]


def _mover(others: Collection[str], own: str) -> Callable[[str], str]:
    """Make a function that puts `own` for another root, where a text or JSON string begins so."""

    def json_text(path: str) -> str:
        return json.dumps(path)[1:-1]

    plain = "|".join(map(re.escape, others))
    quoted = "|".join(re.escape(text) for other in others for text in {other, json_text(other)})
    begins = re.compile(rf"\A(?:{plain})(?=/(?:{_FOLDERS})(?:/|\Z))")
    within = re.compile(rf'(?<=")(?:{quoted})(?=/(?:{_FOLDERS})[/"])')

    def moved(text: str) -> str:
        text = begins.sub(lambda _: own, text)
        return within.sub(lambda _: json_text(own), text)

    return moved
