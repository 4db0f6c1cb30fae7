"""The screen of IR that is executed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TextIO

from rich.table import Table
from rich.text import Text

from common.console import open_console
from pipeline.kubeflow.walk import State, Step

_COLOURS: Final = {
    State.SUCCEEDED: "green",
    State.RUNNING: "cyan",
    State.FAILED: "bold red",
    State.SKIPPED: "yellow",
    State.CANCELED: "yellow",
}


class Screen:
    """A line a change of state, and a table at the end."""

    def __init__(self, file: TextIO | None = None) -> None:
        """Open the console; standard output where `file` is None."""
        self._console = open_console(file)

    def say(self, sentence: str) -> None:
        """Print a line."""
        self._console.print(sentence)

    def changed(self, step: Step) -> None:
        """Print the step's state."""
        line = Text.assemble(
            (f"{step.state.value:<10}", _COLOURS.get(step.state, "")), f" {step.task.name:<34}"
        )
        if step.seconds:
            line.append(f" {step.seconds:8.1f} s")
        if step.reason:
            line.append(f"  {step.reason}")
        self._console.print(line)

    def table(self, steps: Iterable[Step]) -> None:
        """Print all steps: state, tries, seconds, memory."""
        table = Table(box=None)
        table.add_column("step")
        table.add_column("state")
        for title in ("tries", "seconds", "peak MiB"):
            table.add_column(title, justify="right")
        for step in steps:
            memory = f"{step.peak_bytes / 2**20:.0f}" if step.peak_bytes else ""
            table.add_row(
                step.task.name,
                Text(step.state.value, _COLOURS.get(step.state, "")),
                str(step.tries or ""),
                f"{step.seconds:.1f}" if step.seconds else "",
                memory,
            )
        self._console.print(table)
