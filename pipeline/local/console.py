"""The screen of a run: one line a node, and a table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, TextIO

from rich.status import Status
from rich.table import Table
from rich.text import Text

from common.console import open_console
from components.radiograph_example_gen.discovery import Kind
from components.radiograph_example_gen.remarks import PATIENTS_UNKNOWN
from pipeline.config.layout import OutputLayout
from pipeline.local.progress import How
from schema.class_tables import MOST_COLUMNS, named

UNREAD: Final = Kind.UNREAD_IMAGE.value
_COLOURS: Final[dict[How, str]] = {"executed": "green", "cached": "cyan", "resolved": "dim"}


class Console:
    """A printer of progress and results on standard output."""

    def __init__(self, file: TextIO | None = None) -> None:
        """Open the console.

        Args:
            file: standard output where None.
        """
        self._console = open_console(file)
        self._status: Status | None = None
        # Node under way -> what is said of it beside its name.
        self._under_way: dict[str, str] = {}
        # What of a node is counted -> when the count began.
        self._counted: dict[tuple[str, str], float] = {}
        self._count = 0

    def warn(self, sentence: str) -> None:
        """Print a warning that can't be overlooked."""
        self._console.print(Text.assemble(("WARNING", "bold yellow"), f" {sentence}"))

    def node_started(self, node: str) -> None:
        """Show it beside the spinner, on a terminal."""
        self._under_way[node] = ""
        self._spin()

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Say beside the spinner how far the node is, and how long it may still take."""
        if (node, what) not in self._counted:
            self._counted[node, what] = monotonic()
        left = time_left(monotonic() - self._counted[node, what], done, total)
        self._under_way[node] = f" {done} of {total} {what}{left}"
        self._spin()

    def node_failed(self, node: str) -> None:
        """Say so where others are under way, which are finished before the run ends."""
        self._under_way.pop(node, None)
        if others := ", ".join(self._under_way):
            self._console.print(f"{node} failed. {others}: finished first, so that it is kept.")
        self._spin()

    def _spin(self) -> None:
        """Show what is under way."""
        if not self._console.is_terminal:
            return
        said = " | ".join(f"{node} …{far}" for node, far in self._under_way.items())
        if not said:
            self.stop()
        elif self._status is None:
            self._status = self._console.status(said)
            self._status.start()
        else:
            self._status.update(said)

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Print the node's line."""
        self._under_way.pop(node, None)
        self._spin()
        self._count += 1
        self._console.print(
            Text.assemble(
                f"{self._count:3d}  ",
                (f"{how:<8}", _COLOURS[how]),
                f"  {node:<32} {seconds:8.1f} s",
            )
        )

    def stop(self) -> None:
        """Take the spinner away, also after a failure."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def result(self, summary: Mapping[str, Any], layout: OutputLayout) -> None:
        """Print the split, the table of models and where to look."""
        self._console.print(_split_line(summary["data"]))
        if summary["data"]["bad"] or summary["data"]["left_out"].get(UNREAD):
            self.warn(f"left out, with reasons: {summary['data']['manifest']}/left_out.csv")
        for line in _deviation_lines(summary["data"]["deviations"]):
            self.warn(f"split: {line}")
        for remark in summary["data"]["could_not_know"]:
            self.warn(f"{remark['topic']}: {remark['sentence']}.")
        self._console.print(_table(summary, layout))
        for line in _tuning_lines(summary["models"]):
            self._console.print(line)
        for line in _refusal_lines(summary["models"]):
            self._console.print(line)
        for line in _audit_lines(summary["audit"], layout):
            self._console.print(line)
        pushed_to = _below(layout.root, summary["champion_pushed_to"])
        champion = (summary["champion"] or "none", "bold")
        self._console.print(Text.assemble("Champion: ", champion, f" → {pushed_to}"))
        total = summary["seconds"]["total"]
        self._console.print(f"{total:.0f} s in all; details in {layout.summary}")


def time_left(seconds: float, done: int, total: int) -> str:
    """Say how long the rest takes if it goes on as it did; nothing where that isn't known yet.

    Args:
        seconds: since the count was 0.
        done: so many since.
        total: of all.
    """
    if not 0 < done < total:
        return ""
    left = seconds * (total - done) / done
    return f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"


def _split_line(data: Mapping[str, Any]) -> str:
    per_split = [f"{split} {_counts(counts)}" for split, counts in data["counts"].items()]
    return (
        f"Split per class ({named(data['classes'])}): {'; '.join(per_split)}. "
        f"Duplicates dropped: {data['duplicates_dropped']}; bad images left out: {data['bad']}; "
        f"images of other formats, not read: {data['left_out'].get(UNREAD, 0)}; {_patients(data)}."
    )


def _counts(of_classes: Mapping[str, int]) -> str:
    counts = list(of_classes.values())
    if len(counts) <= MOST_COLUMNS:
        return "/".join(map(str, counts))
    low, high = min(counts), max(counts)
    return f"{low} each" if low == high else f"{low} to {high} each"


def _patients(data: Mapping[str, Any]) -> str:
    torn = data["patients_in_two_splits"]
    return PATIENTS_UNKNOWN if torn is None else f"patients in two splits: {torn}"


def _deviation_lines(deviations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write one line a class, of many the first: by how much its counts miss, and why."""
    by_class: dict[tuple[str, str], list[str]] = {}
    for item in deviations:
        missed = f"{item['split']} {item['got']} instead of {item['wanted']}"
        by_class.setdefault((item["class_name"], item["reason"]), []).append(missed)
    lines = [
        f"class {name}: {', '.join(missed)}: {reason}"
        for (name, reason), missed in by_class.items()
    ]
    more = len(lines) - MOST_COLUMNS
    return lines if more <= 0 else [*lines[:MOST_COLUMNS], f"{more} more classes: summary.json"]


def _tuning_lines(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write one line a backbone whose recipe a search found."""
    lines = []
    for name, model in models.items():
        if tuned := model["tuned"]:
            values = ", ".join(f"{field} {_short(v)}" for field, v in tuned["values"].items())
            trials = f"{tuned['trials']} trials"
            if tuned["failed"]:
                trials += f" ({tuned['failed']} more failed)"
            loss = tuned["validation_loss"]
            lines.append(f"{name} tuned: {values}; validation loss {loss:.4f}, best of {trials}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _refusal_lines(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, model in models.items():
        if model["refused_because"]:
            lines.append(f"{name} is not blessed: {model['refused_because']}.")
        infra = model["infra_validation"]
        if infra and not infra["passed"]:
            failures = infra["failures"] or ["TensorFlow Serving in Docker; see logs/run.log"]
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            lines.append(f"{name} can't be served: {failures[0]}{more}.")
    return lines


def _audit_lines(audit: Mapping[str, Any] | None, layout: OutputLayout) -> list[str]:
    if audit is None:
        return []
    lines = [f"Nothing is pushed: {failure}." for failure in audit["failures"]]
    return [*lines, f"Leaks and shortcuts: {_below(layout.root, audit['report'])}"]


def _table(summary: Mapping[str, Any], layout: OutputLayout) -> Table:
    table = Table(title="Test split", title_justify="left")
    for heading in (
        "model",
        "weights",
        "accuracy",
        "95 % Wilson",
        "confusion (rows true)",
        "blessed",
        "pushed to",
    ):
        table.add_column(heading, overflow="fold")
    for name, model in summary["models"].items():
        low, high = model["wilson95"]
        table.add_row(
            name,
            _weights(model),
            f"{model['accuracy']:.2%} ({model['correct']}/{model['total']})",
            f"{low:.3f}–{high:.3f}",
            _confusion(model["confusion"]),
            "yes" if model["blessed"] else "no",
            _below(layout.root, model["pushed_to"]),
        )
    return table


def _confusion(matrix: Sequence[Sequence[int]]) -> str:
    if len(matrix) > MOST_COLUMNS:
        return "in summary.json"
    return "\n".join(" ".join(f"{n:3d}" for n in row) for row in matrix)


def _weights(model: Mapping[str, Any]) -> str:
    if model["members"]:
        return f"of {', '.join(model['members'])}"
    return str(model["weights"] or "–")


def _below(root: Path, path: str | None) -> str:
    """Return the path as seen from where the user gave the output folder."""
    return str(root / Path(path).relative_to(root.resolve())) if path else "–"
