"""What a person sees of a submission: a line a change, and the steps at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.status import Status
from rich.text import Text

from pipeline.console import open_console
from pipeline.kubeflow.watching import FAILED, SUCCEEDED, Step, error_of, failed_first, state_of
from pipeline.runs.tables import NOTHING, new_table, print_table

_COLOURS: Final = {SUCCEEDED: "green", FAILED: "red", "RUNNING": "cyan"}


class SubmitScreen:
    """Prints to standard output; shows a spinner on a terminal only."""

    def __init__(self) -> None:
        """Opens the console."""
        self._console = open_console()
        self._status: Status | None = None

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line)

    def changed(self, step: Step) -> None:
        """Prints a step's new state."""
        colour = _COLOURS.get(step.state, "")
        self._console.print(
            Text.assemble((f"{step.state:<10}", colour), f" {step.name:<40} {_seconds(step):>10}")
        )

    def waiting(self, state: str, done: int, total: int) -> None:
        """Shows the spinner."""
        if not self._console.is_terminal:
            return
        text = f"run {state}, {done} of {total} steps ended …"
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def stop(self) -> None:
        """Takes the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def result(self, run: Any, steps: Sequence[Step], url: str, namespace: str | None) -> None:
        """Prints the table of steps and, after a failure, what failed and where to look.

        Args:
            run: at its end, as kfp_server_api hands it over.
            steps: all that are worth showing.
            url: of the run's page.
            namespace: of its pods, if the user gave it.
        """
        self.stop()
        state = state_of(run)
        if steps:
            table = new_table(None, "step", "state", "seconds")
            for step in steps:
                table.add_row(step.name, step.state, _seconds(step))
            print_table(self._console, table)
        if state == SUCCEEDED:
            self.say(f"The run succeeded: {url}")
            return
        self.say(f"The run ended as {state}.")
        if words := error_of(run):
            self.say(f"The run: {words}")
        failed = failed_first(steps)
        for step in failed:
            self.say(f"{step.name}: {step.error or 'the server gives no message'}")
        self.say(f"Look at the failed step's log: {url}")
        for pod in dict.fromkeys(pod for step in failed for pod in step.pods):
            self.say(f"  kubectl logs -n {namespace or 'kubeflow'} {pod} --all-containers")


def _seconds(step: Step) -> str:
    return NOTHING if step.seconds is None else f"{step.seconds:.1f} s"
