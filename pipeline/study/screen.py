"""The screen of a study while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rich.progress
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from common.console import open_console

if TYPE_CHECKING:
    from pipeline.study.results import SeedResult


class StudyScreen:
    """A bar for the features and one for the results, and a line a result."""

    def __init__(self, results: int) -> None:
        """Prepare the bars.

        Args:
            results: how many are expected.
        """
        self._console = open_console()
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
            # In a file, bars are noise.
            disable=not self._console.is_terminal,
        )
        self._results = self._progress.add_task("results", total=results)
        self._features: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bars away."""
        self._progress.stop()

    def warn(self, sentence: str) -> None:
        """Print a warning that can't be overlooked."""
        self._console.print(Text.assemble(("WARNING", "bold yellow"), f" {sentence}"))

    def featurized(self, backbone: str, done: int, total: int) -> None:
        """Move the features' bar."""
        if self._features is None:
            self._features = self._progress.add_task(f"features, {backbone}", total=total)
        self._progress.update(self._features, completed=done)
        if done == total:
            self._progress.remove_task(self._features)
            self._features = None
            self._console.print(f"{backbone}: features of {total} augmented images computed")

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        """Print the result's line."""
        self._progress.advance(self._results)
        how = f"{result.seconds:6.1f} s" if computed else "  there"
        total = len(result.test.labels)
        validation = result.validation["accuracy"]
        self._console.print(
            f"{how}  {result.recipe:<32} seed {result.seed:<4} test {result.correct}/{total}, "
            f"validation {validation:.2%}"
        )

    def result(self, report: Mapping[str, Any], written: Path) -> None:
        """Print the table, and where the rest is."""
        from pipeline.study.tables import MAIN_HEADER, main_rows

        table = Table(title="Test splits, all seeds", title_justify="left")
        for heading in MAIN_HEADER:
            table.add_column(heading, overflow="fold")
        for row in main_rows(report):
            table.add_row(*row)
        self._console.print(table)
        self._console.print(f"{report['seconds']['total']:.0f} s in all; details in {written}")
