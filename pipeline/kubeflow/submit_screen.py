"""The screen of a submission: a line a change, and the steps at the end."""

from __future__ import annotations

from typing import Final

from rich.status import Status
from rich.text import Text

from common.console import open_console
from pipeline.kubeflow.watching import FAILED, SUCCEEDED, End, Step
from pipeline.runs.tables import NOTHING, new_table, print_table

_COLOURS: Final = {SUCCEEDED: "green", FAILED: "red", "RUNNING": "cyan"}


class SubmitScreen:
    """A screen on standard output; a spinner turns on a terminal only."""

    def __init__(self) -> None:
        """Open the console."""
        self._console = open_console()
        self._status: Status | None = None

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line)

    def changed(self, step: Step) -> None:
        """Print a step's new state."""
        colour = _COLOURS.get(step.state, "")
        self._console.print(
            Text.assemble((f"{step.state:<10}", colour), f" {step.name:<40} {_seconds(step):>10}")
        )

    def waiting(self, state: str, done: int, total: int) -> None:
        """Show the spinner."""
        if not self._console.is_terminal:
            return
        text = f"run {state}, {done} of {total} steps ended …"
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def stop(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def result(self, end: End, url: str, logs: str) -> None:
        """Print the table of steps and, after a failure, what failed and where to look.

        Args:
            end: of the run.
            url: of the run's page.
            logs: the command that shows what its pods have written.
        """
        self.stop()
        table = new_table(None, "step", "state", "seconds")
        for step in end.steps:
            table.add_row(step.name, step.state, _seconds(step))
        print_table(self._console, table)
        if end.state == SUCCEEDED:
            self.say(f"The run succeeded: {url}")
            return
        cancelled = "was cancelled, and " if end.cancelled else ""
        self.say(f"The run {cancelled}ended as {end.state}: {url}")
        if failed := [step.name for step in end.steps if step.state == FAILED]:
            self.say(f"Failed: {', '.join(failed)}")
        self.say(f"Logs: {logs}")


def _seconds(step: Step) -> str:
    return NOTHING if step.seconds is None else f"{step.seconds:.1f} s"
