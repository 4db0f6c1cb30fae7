"""The opening of OUTPUT before a run's first node: it has to be sound, and the run's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.runtime import make_folder
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.damage import mend_by_sizes
from pipeline.local.folder.inventory import update_inventory
from pipeline.local.folder.places import relocate
from pipeline.local.folder.store_check import (
    check_store,
    has_store,
    highest_folder,
    make_store,
    number_above,
)

# The folder that `OutputLayout.pushed` was once.
_PUSHED_BEFORE: Final = "history"


def open_folder(layout: OutputLayout, warn: Callable[[str], None]) -> None:
    """Make the store sound, let it name this folder's files, and let it number freely.

    Nothing is written where no run has been.

    Args:
        layout: of the output folder, which exists.
        warn: is told what was found, and what was done about it.

    Raises:
        InputError: the store can't be used; says what to do.
    """
    taken = highest_folder(layout)
    had_store = has_store(layout)
    if had_store:
        check_store(layout)
    elif taken:
        make_store(layout)
    else:
        # Who starts over may have left the inventory of what is gone.
        update_inventory(layout, ())
        return
    known = number_above(layout, taken)
    if known is not None and not had_store:
        warn(
            f"output: {layout.metadata} was not there, but artifacts are, up to number {taken}. "
            "They are left alone: a new store was begun, which knows nothing of them, and this run "
            f"computes everything anew, in folders from {taken + 1} on."
        )
    elif known is not None:
        warn(
            f"output: {layout.metadata} is older than what lies beside it: it knows of executions "
            f"up to {known}, and there are folders up to {taken}. What it doesn't know is left "
            f"alone; new folders are numbered from {taken + 1} on."
        )
    for other in relocate(layout):
        warn(
            f"output: {layout.root} was copied or moved from {other}. Its metadata store now names "
            "its own files. Most nodes run again, since TFX's cache goes by paths."
        )
    if layout.serving.is_dir() and not layout.pushed.exists():
        before = layout.root.resolve() / _PUSHED_BEFORE
        unread = f" What it kept in {before} is not read." if before.is_dir() else ""
        warn(
            f"output: what {layout.serving} has was pushed by an earlier version of this program, "
            f"which kept nothing of it in {layout.pushed}: no model is compared with it or goes "
            "on from it, and the split of images of spans follows from their folders alone."
            + unread
        )
    mend_by_sizes(layout, warn)


def begin_folder(layout: OutputLayout) -> None:
    """Make what a first run needs, so that it can be held while the run lasts."""
    make_folder(layout.artifacts)
    if not has_store(layout):
        make_store(layout)
