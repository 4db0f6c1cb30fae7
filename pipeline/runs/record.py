"""The record of a run, OUTPUT/runs/<id>/run.json: all that ask what was before read it."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import InputError
from pipeline.config.layout import OutputLayout

RECORD_FILE: Final = "run.json"
# Held by its run, and removed at the run's end.
IN_USE_FILE: Final = "in-use"

# As in `pipeline.local.progress`, and how a node is left that came to no end.
How = Literal["executed", "cached", "resolved", "failed", "unfinished"]
# `running` in the file of a run that was killed, too: nobody was there to write `stopped`.
State = Literal["running", "complete", "none blessed", "failed", "stopped"]


class _Summary(BaseModel):
    """A part of `summary.json`: what is asked for here, and all else as it is."""

    model_config = ConfigDict(extra="allow")


class Model(_Summary):
    """One candidate.

    Attributes:
        correct: test images that it got right.
        total: test images.
        blessed: the gate's verdict.
        gate: what the gate looked at.
        baseline: the folder of the version that the model was compared with.
        pushed_to: the version's folder, pushed by this run or found pushed.
    """

    correct: int
    total: int
    blessed: bool
    gate: dict[str, float | int | None]
    baseline: str | None = None
    pushed_to: str | None


class Data(_Summary):
    """The images.

    Attributes:
        digest: of the split.
        counts: split -> class -> images.
    """

    digest: str
    counts: dict[str, dict[str, int]]


class Result(_Summary):
    """The content of `summary.json`, as far as the run got.

    Attributes:
        data: null before ExampleGen's end.
        models: those that were judged, in the order of training.
        champion: the champion's name among them.
    """

    data: Data | None = None
    models: dict[str, Model] = Field(default_factory=dict)
    champion: str | None = None


class Node(BaseModel):
    """The work that was done for a node.

    Attributes:
        how: and how it ended.
        seconds: wall clock; null before the end.
        code: digest of the code that it depends on, where it is one of this project's.
        outputs: key -> artifact's folder, below OUTPUT/artifacts where it lies there.
    """

    how: How
    seconds: float | None = None
    code: str | None = None
    outputs: dict[str, str] = Field(default_factory=dict)


class Record(BaseModel):
    """One run.

    Attributes:
        schema_version: of this model.
        id: the local time of the start; the folder's name.
        started: with its time zone.
        output: the output folder at that time.
        seconds: from the start to the end, or to what was written last.
        state: how it ended.
        exit: code of the command; null before the end.
        error: the sentence with which it failed.
        configuration: dotted field -> value, as `cxr config` has it; what the run found out
            itself is in `found`.
        found: engine, weights, schema, spans.
        versions: program -> version.
        nodes: node id -> what was done, in the order in which they began.
        result: what the run came to.
    """

    schema_version: Literal[1] = 1
    id: str
    started: datetime
    output: str
    seconds: float = 0.0
    state: State = "running"
    exit: int | None = None
    error: str | None = None
    configuration: dict[str, Any]
    found: dict[str, Any]
    versions: dict[str, str]
    nodes: dict[str, Node] = Field(default_factory=dict)
    result: Result = Field(default_factory=Result)

    @property
    def at(self) -> str | None:
        """The node at which the run isn't, or wasn't, complete."""
        if self.state in ("complete", "none blessed"):
            return None
        last = next(reversed(self.nodes), None)
        # Another may have begun after it, and was finished.
        return next((name for name, node in self.nodes.items() if node.how == "failed"), last)

    @property
    def digest(self) -> str | None:
        """Digest of the split; None where the run didn't get there."""
        return self.result.data.digest if self.result.data else None

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> class -> images; empty where the run didn't get there."""
        return self.result.data.counts if self.result.data else {}

    @property
    def artifacts(self) -> set[str]:
        """Folders of what the run wrote or took from the cache, as in `Node.outputs`."""
        nodes = (node for node in self.nodes.values() if node.how != "resolved")
        return {place for node in nodes for place in node.outputs.values()}

    def place(self, node: str, key: str = "model") -> str | None:
        """Return the folder of one output; None where the node wrote none."""
        return self.nodes[node].outputs.get(key) if node in self.nodes else None

    def count(self, how: How) -> int:
        """Count the nodes that this was done for."""
        return sum(node.how == how for node in self.nodes.values())

    def gone(self, layout: OutputLayout) -> int:
        """Count the artifacts that are no longer on disk."""
        return sum(not (layout.artifacts / place).exists() for place in self.artifacts)

    def to_json(self, layout: OutputLayout) -> dict[str, Any]:
        """Return what `cxr runs --json` prints of it.

        Args:
            layout: of the folder in which the record lies.
        """
        models = {
            name: {
                "accuracy": model.correct / model.total if model.total else None,
                "correct": model.correct,
                "total": model.total,
                "blessed": model.blessed,
                "pushed": model.pushed_to is not None,
                "pushed_to": model.pushed_to and self._now(model.pushed_to, layout),
            }
            for name, model in self.result.models.items()
        }
        return {
            "run": self.id,
            "started": self.started.astimezone(timezone.utc).isoformat(timespec="milliseconds"),
            "state": self.state,
            "at": self.at,
            "exit": self.exit,
            "error": self.error,
            "seconds": self.seconds,
            "seed": self.configuration.get("seed"),
            "data": {"digest": self.digest, "counts": self.counts},
            "models": models,
            "champion": self.result.champion,
            "nodes": {"executed": self.count("executed"), "cached": self.count("cached")},
            "artifacts": {"all": len(self.artifacts), "gone": self.gone(layout)},
        }

    def _now(self, path: str, layout: OutputLayout) -> str:
        """Return a path below OUTPUT, where that was copied or moved since."""
        below = path.removeprefix(f"{self.output}/")
        return path if below == path else str(layout.root.resolve() / below)


@dataclass(frozen=True)
class Records:
    """All runs of an output folder.

    Attributes:
        readable: oldest first.
        unreadable: folder's name -> a sentence that says what is wrong.
    """

    readable: list[Record]
    unreadable: dict[str, str]


def write_record(record: Record, layout: OutputLayout) -> None:
    """Write a record whole or not at all; its folder exists.

    Raises:
        OSError: it can't be written.
    """
    file = layout.runs / record.id / RECORD_FILE
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)


def read_records(layout: OutputLayout) -> Records:
    """Every run; writes nothing.

    Args:
        layout: of the output folder.

    Raises:
        InputError: no run was ever there, or only runs that wrote no record.
    """
    if not layout.runs.is_dir():
        if layout.metadata.is_file():
            raise InputError(
                f"output: {layout.root} holds only runs of earlier versions of this program, which "
                "are not listed: the next `cxr run` there writes the first record."
            )
        raise InputError(
            f"output: {layout.root} holds no run; give the folder that was --output of a run."
        )
    found = Records([], {})
    for folder in sorted(layout.runs.iterdir()):
        try:
            found.readable.append(_read(folder))
        except (OSError, ValueError) as error:
            found.unreadable[folder.name] = (
                f"{folder / RECORD_FILE} can't be read as the record of a run ({_reason(error)}); "
                "remove the folder, or put a copy of it back."
            )
    found.readable.sort(key=lambda record: record.started)
    return found


def _read(folder: Path) -> Record:
    record = Record.model_validate_json((folder / RECORD_FILE).read_bytes())
    record.id = folder.name
    if record.state == "running" and not _is_held(folder / IN_USE_FILE):
        record.state = "stopped"
    return record


def _is_held(file: Path) -> bool:
    try:
        with file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return str(getattr(error, "strerror", None) or error)
