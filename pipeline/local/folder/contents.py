"""Everything that nodes wrote, file by file: what `cxr cache` says."""

from __future__ import annotations

from typing import Any

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.damage import known_folders, set_aside, what_is_damaged
from pipeline.local.folder.inventory import by_folder, find_damage, read_inventory
from pipeline.local.folder.store_check import check_store, has_store


def nothing() -> dict[str, Any]:
    """Say as `look_through` what lies in a folder in which no run has been."""
    return {"nodes": {}, "damaged": [], "unchecked": 0, "unfinished": []}


def look_through(layout: OutputLayout, *, mend: bool) -> dict[str, Any]:
    """Read each file that the inventory knows.

    Args:
        layout: of the output folder.
        mend: set damaged artifacts aside.

    Returns:
        `nodes`: node -> `artifacts`, `bytes`; `damaged`: a list of `folder`, `node`, `files` (each
        with `file` and `how`), `sentence`, `set_aside` (null, or where it is now); `unchecked`: how
        many artifacts were not taken down; `unfinished`: folders that the store doesn't know.

    Raises:
        InputError: there is no store, or it can't be used.
    """
    if not has_store(layout):
        raise InputError(
            f"output: {layout.metadata} isn't there, so nobody knows whose the artifacts are. Put "
            "a copy of it back; or run: that begins a new store beside what is there."
        )
    check_store(layout)
    known = known_folders(layout)
    there = sorted(
        path.relative_to(layout.artifacts).as_posix()
        for path in layout.artifacts.glob("[!.]*/[!.]*/*")
        if path.is_dir() and path.name.isdecimal()
    )
    inventory = read_inventory(layout)
    nodes: dict[str, dict[str, int]] = {}
    for folder in there:
        row = nodes.setdefault(folder.split("/")[0], {"artifacts": 0, "bytes": 0})
        row["artifacts"] += 1
        row["bytes"] += _bytes(layout, folder)
    damages = find_damage(layout, inventory, known, contents=True)
    places = set_aside(layout, damages) if mend else {}
    damaged = [
        {
            "folder": f"artifacts/{folder}",
            "node": of_it[0].node,
            "files": [{"file": damage.file, "how": damage.how} for damage in of_it],
            "sentence": what_is_damaged(of_it),
            "set_aside": str(places[folder]) if folder in places else None,
        }
        for folder, of_it in by_folder(damages).items()
    ]
    return {
        "nodes": nodes,
        "damaged": damaged,
        "unchecked": len((known & set(there)) - inventory.keys()),
        "unfinished": [folder for folder in there if folder not in known],
    }


def _bytes(layout: OutputLayout, folder: str) -> int:
    files = (layout.artifacts / folder).rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())
