"""What differs between two runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.errors import InputError
from pipeline.runs.properties import fields_of, is_code
from pipeline.runs.record import Record
from pipeline.runs.store import How, Run

LATEST: Final = "latest"
PREVIOUS: Final = "previous"


@dataclass(frozen=True)
class Change:
    """A field that differs, in all nodes in which it differs in the same way.

    Attributes:
        field: dotted name.
        nodes: in the order in which they run.
        values: of `a` and of `b`; a run that lacks the field is left out.
    """

    field: str
    nodes: tuple[str, ...]
    values: dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Images that only one of two models gets right.

    Attributes:
        only_a: those that only the first run's model gets right.
        only_b: those that only the second run's does.
    """

    only_a: int
    only_b: int


@dataclass(frozen=True)
class Diff:
    """Two runs side by side.

    Attributes:
        a: the first.
        b: the second.
        choices: fields of the configuration, and other execution properties.
        code: digests of the code that a node depends on.
        pairs: model -> images that only one of both runs' models gets right, where an
            evaluation counted them.
        nodes: node -> what was done for it in each; None where it isn't in the run.
    """

    a: Record
    b: Record
    choices: tuple[Change, ...]
    code: tuple[Change, ...]
    pairs: dict[str, Pair]
    nodes: dict[str, tuple[How | None, How | None]]

    @property
    def models(self) -> list[str]:
        """Of either run."""
        return list(dict.fromkeys((*self.a.models, *self.b.models)))

    def to_json(self) -> dict[str, Any]:
        """Say what `--json` prints of it."""
        return {
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "same_data": self.a.digest == self.b.digest,
            "properties": [_change_json(change) for change in self.choices],
            "code": [_change_json(change) for change in self.code],
            "only_one_right": {
                name: {"a": pair.only_a, "b": pair.only_b} for name, pair in self.pairs.items()
            },
            "nodes": {name: {"a": a, "b": b} for name, (a, b) in self.nodes.items()},
        }


def _change_json(change: Change) -> dict[str, Any]:
    return {"field": change.field, "nodes": list(change.nodes), **change.values}


def choose(runs: Sequence[Run], wanted: str, argument: str) -> Run:
    """Finds a run by what the user calls it.

    Args:
        runs: oldest first.
        wanted: an id or the beginning of one, `latest` or `previous`.
        argument: the name of the argument, for the message.

    Raises:
        InputError: no such run, or several.
    """
    if wanted in (LATEST, PREVIOUS):
        back = 1 if wanted == LATEST else 2
        if len(runs) < back:
            raise InputError(f"{argument}: there is no {wanted} run; the store has {len(runs)}.")
        return runs[-back]
    matching = [run for run in runs if run.id.startswith(wanted)]
    exact = [run for run in matching if run.id == wanted]
    found = exact or matching
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"{argument}: no run's id begins with {wanted!r}; `cxr runs` lists the "
            f"{len(runs)} there are."
        )
    ids = ", ".join(run.id for run in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise InputError(f"{argument}: {wanted!r} is the beginning of {ids}{more}; give more of it.")


def diff(a: Record, b: Record) -> Diff:
    """Compares two runs.

    Args:
        a: the one that is thought of as before.
        b: the one after.
    """
    changes = _changes(a, b)
    return Diff(
        a=a,
        b=b,
        choices=tuple(change for change in changes if not is_code(change.field)),
        code=tuple(change for change in changes if is_code(change.field)),
        pairs={
            name: pair
            for name in a.models
            if name in b.models and (pair := _pair(a, b, name)) is not None
        },
        nodes={
            name: (
                a.run.nodes[name].how if name in a.run.nodes else None,
                b.run.nodes[name].how if name in b.run.nodes else None,
            )
            for name in dict.fromkeys((*a.run.nodes, *b.run.nodes))
        },
    )


def _changes(a: Record, b: Record) -> list[Change]:
    """Compare the nodes that both runs have; a node that only one has is itself the difference."""
    found: dict[str, tuple[str, list[str], dict[str, Any]]] = {}
    for name, node in a.run.nodes.items():
        if name not in b.run.nodes:
            continue
        nodes = {"a": node, "b": b.run.nodes[name]}
        sides = {side: fields_of(node.properties) for side, node in nodes.items()}
        for field in dict.fromkeys((*sides["a"], *sides["b"])):
            values = {side: fields[field] for side, fields in sides.items() if field in fields}
            # What a driver adds is only noted down when the node is executed.
            if any(nodes[side].how != "executed" for side in sides.keys() - values.keys()):
                continue
            # As JSON, since 1, 1.0 and true aren't the same in a configuration.
            texts = {json.dumps(value, sort_keys=True) for value in values.values()}
            if len(values) == 2 and len(texts) == 1:
                continue
            same = json.dumps([field, values], sort_keys=True)
            found.setdefault(same, (field, [], values))[1].append(name)
    return [Change(field, tuple(nodes), values) for field, nodes, values in found.values()]


def _pair(a: Record, b: Record, name: str) -> Pair | None:
    """From McNemar's figures, where one run's model was the other's baseline on the same split."""
    if a.digest is None or a.digest != b.digest:
        return None
    if _is_baseline(of=b, model_of=a, name=name):
        figures = b.models[name].figures
        if figures and figures.only_baseline is not None and figures.only_candidate is not None:
            return Pair(only_a=figures.only_baseline, only_b=figures.only_candidate)
    if _is_baseline(of=a, model_of=b, name=name):
        figures = a.models[name].figures
        if figures and figures.only_baseline is not None and figures.only_candidate is not None:
            return Pair(only_a=figures.only_candidate, only_b=figures.only_baseline)
    return None


def _is_baseline(*, of: Record, model_of: Record, name: str) -> bool:
    evaluator = f"Evaluator.{name}"
    ours, theirs = of.run.nodes.get(evaluator), model_of.run.nodes.get(evaluator)
    if ours is None or theirs is None:
        return False
    baseline = ours.inputs.get("baseline_model", ())
    return len(baseline) == 1 and baseline == theirs.inputs.get("model", ())
