"""JSON files that are there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_UNFINISHED = ".unfinished"


def unfinished(path: Path) -> Path:
    """Return where a file is written before it gets its name."""
    return path.with_name(path.name + _UNFINISHED)


def write_json(path: Path, value: Any) -> None:
    """Write a file, and make its folder."""
    text = json.dumps(value, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished(path).write_text(text, encoding="utf-8")
    unfinished(path).replace(path)


def read_json(path: Path) -> Any:
    """Read the content; None where there is no such file, or something else wrote it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
