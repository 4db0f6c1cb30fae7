"""What is said of a run: how it ended, on which data, and how its models did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pipeline.config.layout import OutputLayout
from pipeline.runs.evaluation_file import Figures, NoFiguresError, read_figures
from pipeline.runs.store import How, Run
from schema import contract

State = Literal["complete", "none blessed", "failed", "running", "stopped"]

_EXAMPLE_GEN: Final = "RadiographExampleGen"
# The DAG's last node: nothing depends on it, and it depends on all.
_LAST: Final = f"Pusher.{contract.CHAMPION}"
_MODEL_NODES: Final = ("Trainer.", "Combiner.", "Evaluator.")
# A run has a folder of this name in the output folder while it is under way.
_SCRATCH: Final = ".tmp-*"


@dataclass(frozen=True)
class Model:
    """One candidate in a run.

    Attributes:
        figures: on the test split; None where they aren't known.
        unknown: why they aren't, as a clause; None where they are, or the run didn't get there.
        blessed: None where the run didn't get there.
        pushed: whether this run pushed it, or found it pushed.
        pushed_to: the version's folder.
    """

    figures: Figures | None
    unknown: str | None
    blessed: bool | None
    pushed: bool | None
    pushed_to: str | None

    def to_json(self) -> dict[str, Any]:
        """Say what `--json` prints of it."""
        figures = self.figures
        return {
            "accuracy": figures.correct / figures.total if figures and figures.total else None,
            "correct": figures.correct if figures else None,
            "total": figures.total if figures else None,
            "unknown_because": self.unknown,
            "blessed": self.blessed,
            "pushed": self.pushed,
            "pushed_to": self.pushed_to,
        }


@dataclass(frozen=True)
class Record:
    """One run, as it is listed.

    Attributes:
        run: as the store has it.
        state: how it ended, as far as the store says.
        at: the node at which it isn't, or wasn't, complete.
        digest: of the split; None where it didn't get there.
        counts: split -> class -> images; empty where there is none.
        models: name -> candidate, in the order of training.
        champion: the champion's name among them.
        artifacts: how many the run wrote or took from the cache.
        gone: how many of these are no longer on disk.
    """

    run: Run
    state: State
    at: str | None
    digest: str | None
    counts: Mapping[str, Mapping[str, int]]
    models: Mapping[str, Model]
    champion: str | None
    artifacts: int
    gone: int

    @property
    def seed(self) -> int | None:
        """Of the split; None where ExampleGen wasn't reached."""
        node = self.run.nodes.get(_EXAMPLE_GEN)
        return node.properties.get("seed") if node else None

    def count(self, how: How) -> int:
        """Say how many nodes this was done for."""
        return sum(node.how == how for node in self.run.nodes.values())

    def to_json(self) -> dict[str, Any]:
        """Say what `--json` prints of it."""
        return {
            "run": self.run.id,
            "started": self.run.started.isoformat(timespec="milliseconds"),
            "state": self.state,
            "at": self.at,
            "seconds": self.run.seconds,
            "seed": self.seed,
            "data": {"digest": self.digest, "counts": self.counts},
            "models": {name: model.to_json() for name, model in self.models.items()},
            "champion": self.champion,
            "nodes": {"executed": self.count("executed"), "cached": self.count("cached")},
            "artifacts": {"all": self.artifacts, "gone": self.gone},
        }


def record_of(run: Run, layout: OutputLayout) -> Record:
    """Puts together what the store and the evaluations' files say of a run.

    Args:
        run: from the store.
        layout: of its output folder.
    """
    state, at = _state(run, layout)
    manifest = run.output(_EXAMPLE_GEN, "manifest")
    properties = manifest.properties if manifest else {}
    champion = run.output("Champion", "model")
    written = [a.uri for node in run.nodes.values() for a in node.outputs.values()]
    return Record(
        run=run,
        state=state,
        at=at,
        digest=properties.get("digest"),
        counts=_counts(properties.get("counts")),
        models={name: _model(run, name) for name in _names(run)},
        champion=champion.properties.get("backbone") if champion else None,
        artifacts=len(written),
        gone=sum(not Path(uri).exists() for uri in written),
    )


def _state(run: Run, layout: OutputLayout) -> tuple[State, str | None]:
    for name, node in run.nodes.items():
        if node.how == "failed":
            return "failed", name
    unfinished = [name for name, node in run.nodes.items() if node.how == "unfinished"]
    if not unfinished and _LAST in run.nodes:
        blessing = run.output("Champion", "blessing")
        blessed = blessing is None or blessing.properties.get("blessed") == 1
        return "complete" if blessed else "none blessed", None
    at = next(reversed(unfinished or list(run.nodes)), None)
    # The store itself can't tell a run under way from one that was killed.
    under_way = run.newest and any(layout.root.glob(_SCRATCH))
    return "running" if under_way else "stopped", at


def _counts(text: str | None) -> dict[str, dict[str, int]]:
    """Split -> class -> images, as in `summary.json`; in the store it is the other way round."""
    per_class = json.loads(text)["splits"] if text else {}
    return {
        split: {name: counts[split] for name, counts in per_class.items()}
        for split in (contract.SPLITS if per_class else ())
    }


def _names(run: Run) -> list[str]:
    """The candidates, each once."""
    return list(
        dict.fromkeys(
            node.removeprefix(prefix)
            for prefix in _MODEL_NODES
            for node in run.nodes
            if node.startswith(prefix)
        )
    )


def _model(run: Run, name: str) -> Model:
    blessing = run.output(f"Evaluator.{name}", "blessing")
    pushed = run.output(f"Pusher.{name}", "pushed_model")
    figures, unknown = _figures(run, name)
    return Model(
        figures=figures,
        unknown=unknown,
        blessed=blessing.properties.get("blessed") == 1 if blessing else None,
        pushed=pushed.properties.get("pushed") == 1 if pushed else None,
        pushed_to=pushed.properties.get("pushed_destination") or None if pushed else None,
    )


def _figures(run: Run, name: str) -> tuple[Figures | None, str | None]:
    evaluation = run.output(f"Evaluator.{name}", "evaluation")
    if evaluation is None:
        return None, None
    try:
        return read_figures(evaluation.uri), None
    except NoFiguresError as reason:
        return None, f"{evaluation.uri} {reason}"
