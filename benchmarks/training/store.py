"""The measurements of the benchmark so far, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


class Store:
    """Measurements by key, written as they come, so that an interrupted benchmark goes on."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open the file, or begin it.

        Args:
            path: the file.
            settings: what all measurements in it have to have in common.

        Raises:
            InputError: the file holds measurements of other settings.
        """
        self._path = path
        empty = {"settings": dict(settings), "attempts": {}, "measured": {}}
        self._content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else empty
        before = self._content["settings"]
        if before != settings:
            other = [
                name for name in {*settings, *before} if settings.get(name) != before.get(name)
            ]
            raise InputError(
                f"output: {path} holds measurements with another {', '.join(sorted(other))}; "
                "remove it, or give another folder as --output."
            )

    @property
    def measured(self) -> Mapping[str, dict[str, Any]]:
        """Key -> measurement."""
        return self._content["measured"]

    def start(self, key: str) -> int:
        """Note that a measurement begins.

        Returns:
            How often it began before, that is, was broken off.
        """
        before: int = self._content["attempts"].get(key, 0)
        self._content["attempts"][key] = before + 1
        write_json(self._path, self._content)
        return before

    def finish(self, key: str, measurement: Mapping[str, Any]) -> None:
        """Keep what was measured."""
        self._content["measured"][key] = dict(measurement)
        write_json(self._path, self._content)
