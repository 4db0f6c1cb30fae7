"""Sets damaged artifacts aside, so that TFX makes them again, and says so."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.inventory import (
    Damage,
    by_folder,
    find_damage,
    folder_of,
    forget,
    read_inventory,
    update_inventory,
)
from pipeline.local.folder.places import own_place
from pipeline.local.folder.store_check import sqlite_of

# Longer lists say how many more there are.
_NAMED = 3


def known_folders(layout: OutputLayout) -> set[str]:
    """Name the artifacts' folders, below OUTPUT/artifacts, that the metadata store knows."""
    with sqlite_of(layout) as connection:
        uris = [uri for (uri,) in connection.execute("SELECT uri FROM Artifact") if uri]
    places = (folder_of(own_place(uri, layout), layout) for uri in uris)
    return {folder for folder in places if folder}


def set_aside(layout: OutputLayout, damages: Iterable[Damage]) -> dict[str, Path]:
    """Move damaged artifacts to OUTPUT/damaged. Nothing is deleted.

    TFX's cache passes over an artifact that isn't where the store says, so the node runs again.

    Args:
        layout: of the output folder.
        damages: what is wrong with them.

    Returns:
        Folder below OUTPUT/artifacts -> where it is now.
    """
    moved: dict[str, Path] = {}
    for folder in by_folder(damages):
        target = layout.damaged / folder
        count = 1
        while target.exists():
            count += 1
            target = layout.damaged / f"{folder}-{count}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (layout.artifacts / folder).rename(target)
        moved[folder] = target
    if moved:
        forget(layout, moved.keys())
    return moved


def mend_by_sizes(layout: OutputLayout, warn: Callable[[str], None]) -> None:
    """Set aside what a look at the sizes shows to be damaged.

    Args:
        layout: of an output folder that has a store.
        warn: is told of each artifact.
    """
    # What is gone is forgotten before its number can be given out again, where the store went, too.
    update_inventory(layout, ())
    inventory = read_inventory(layout)
    damages = find_damage(layout, inventory, known_folders(layout), contents=False)
    each = by_folder(damages)
    for folder, place in set_aside(layout, damages).items():
        what = what_is_damaged(each[folder])
        warn(f"{what} It is now in {place}; a run that needs it makes it again.")


def damage_in(layout: OutputLayout, uris: Iterable[str]) -> list[Damage]:
    """Read the files of some artifacts, and find those that are no longer what they were."""
    folders = {folder for uri in uris if (folder := folder_of(uri, layout))}
    return find_damage(layout, read_inventory(layout), folders, contents=True)


def name_damage(layout: OutputLayout, uris: Iterable[str]) -> InputError | None:
    """Say that something that only reads met a damaged artifact, where it did.

    Args:
        layout: of the output folder.
        uris: of the artifacts that it read.
    """
    damages = damage_in(layout, uris)
    if not damages:
        return None
    first = next(iter(by_folder(damages).values()))
    return InputError(
        f"output: {what_is_damaged(first)} To have all that is damaged made again: "
        f"{how_to_mend(layout)}."
    )


def how_to_mend(layout: OutputLayout) -> str:
    """Write the commands."""
    return f"cxr cache --output {shlex.quote(str(layout.root))} --mend, and then cxr run"


def what_is_damaged(damages: Sequence[Damage]) -> str:
    """Write a sentence on one artifact: its files, and the node that made it."""
    first = damages[0]
    files = "; ".join(f"{damage.file} {damage.how}" for damage in damages[:_NAMED])
    more = f"; {len(damages) - _NAMED} more files" if len(damages) > _NAMED else ""
    return f"artifacts/{first.folder}, made by {first.node}, is damaged: {files}{more}."
