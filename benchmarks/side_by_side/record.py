"""The file of what was measured: each figure is in it at once, so that a stopped bench goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.side_by_side.sides import SideName
from common.errors import InputError

FIGURES_FILE: Final = "figures.json"
_SETTINGS: Final = "settings"
_FIGURES: Final = "figures"


@dataclass(frozen=True)
class Figure:
    """One measurement of one side.

    Attributes:
        seconds: wall clock.
        cpu: seconds of all processes.
        peak_mib: of the largest process.
        load: load average before it.
        what: what it was measured with, where the sides may differ; for the table.
        nodes: node -> seconds, of a run.
    """

    seconds: float
    cpu: float
    peak_mib: float
    load: float = 0.0
    what: str = ""
    nodes: Mapping[str, float] = field(default_factory=dict)


class Record:
    """Row, side, round -> figure."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Read what is there.

        Args:
            folder: of the measurement.
            settings: by which it is measured; what is there must have been measured by the same.

        Raises:
            InputError: names the settings that differ.
        """
        self._file = folder / FIGURES_FILE
        self._settings = dict(settings)
        self._figures: dict[str, dict[str, dict[str, Figure]]] = {}
        if not self._file.is_file():
            return
        held = json.loads(self._file.read_text(encoding="utf-8"))
        there = held[_SETTINGS]
        if differ := [name for name in settings if there.get(name) != settings[name]]:
            said = "; ".join(f"{name} was {there.get(name)}" for name in differ)
            raise InputError(
                f"output: {folder} holds a measurement of something else ({said}); "
                "give another folder, or remove it."
            )
        for row, sides in held[_FIGURES].items():
            for side, rounds in sides.items():
                for number, figure in rounds.items():
                    self._of(row, side)[number] = Figure(**figure)

    def get(self, row: str, side: SideName, number: int) -> Figure | None:
        """Return a round's figure, None where it wasn't measured."""
        return self._of(row, side).get(str(number))

    def all(self, row: str, side: SideName) -> list[Figure]:
        """Return the figures of all rounds."""
        return list(self._of(row, side).values())

    def put(self, row: str, side: SideName, number: int, figure: Figure) -> None:
        """Add a figure, and write the file."""
        self._of(row, side)[str(number)] = figure
        figures = {
            row: {
                side: {number: asdict(figure) for number, figure in rounds.items()}
                for side, rounds in sides.items()
            }
            for row, sides in self._figures.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        written = self._file.with_suffix(".tmp")
        text = json.dumps({_SETTINGS: self._settings, _FIGURES: figures}, indent=1)
        written.write_text(text, encoding="utf-8")
        written.replace(self._file)

    def _of(self, row: str, side: str) -> dict[str, Figure]:
        return self._figures.setdefault(row, {}).setdefault(side, {})
