"""The part of a version's record that says when it was tried, promoted or left. Imports no TFX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from common.durable import write_durably
from common.errors import InputError

RECORD_FILE: Final = "record.json"
# Of the record, beside `record.MODEL` and `record.SPLIT`: a list, the oldest first.
ROLLOUTS: Final = "rollouts"


def has_record(folder: Path) -> bool:
    """Return whether a push kept a record of a version: nothing is pushed that no gate blessed."""
    return (folder / RECORD_FILE).is_file()


def note(folder: Path, entries: list[Mapping[str, Any]]) -> None:
    """Write into a version's record what was done with it; what is there already stays as it is.

    Args:
        folder: of what is kept of the version, on this machine.
        entries: of a rollout's history.

    Raises:
        InputError: the record can't be read or written.
    """
    file = folder / RECORD_FILE
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        known = list(value.get(ROLLOUTS, ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{file} can't be read: {error}; push the model again.") from error
    new = [dict(entry) for entry in entries if dict(entry) not in known]
    if not new:
        return
    text = json.dumps({**value, ROLLOUTS: [*known, *new]}, ensure_ascii=False)
    try:
        write_durably(file, text.encode(), folder)
    except OSError as error:
        raise InputError(f"{file} can't be written: {error}.") from error
