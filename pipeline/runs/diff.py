"""The differences between two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.config.provenance import RESOLVED
from pipeline.runs.record import How, Record, Records
from schema.contract import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT

LATEST: Final = "latest"
PREVIOUS: Final = "previous"


@dataclass(frozen=True)
class Change:
    """A field that differs.

    Attributes:
        field: dotted name.
        values: of `a` and of `b`; a run that lacks the field is left out.
    """

    field: str
    values: dict[str, Any]


@dataclass(frozen=True)
class CodeChange:
    """Code that differs, with all nodes that depend on it.

    Attributes:
        nodes: in the order in which they run.
        a: digest in the one run; None where it had none.
        b: in the other.
    """

    nodes: tuple[str, ...]
    a: str | None
    b: str | None


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
        configuration: what was chosen; and, as `found` and `versions`, what the runs found.
        code: nodes -> digests of the code that they depend on.
        pairs: model -> images that only one of both runs' models gets right, where an
            evaluation counted them.
        nodes: node -> what was done for it in each; None where it isn't in the run.
    """

    a: Record
    b: Record
    configuration: tuple[Change, ...]
    code: tuple[CodeChange, ...]
    pairs: dict[str, Pair]
    nodes: dict[str, tuple[How | None, How | None]]

    @property
    def models(self) -> list[str]:
        """The models of either run."""
        return list(dict.fromkeys((*self.a.result.models, *self.b.result.models)))

    def to_json(self, layout: OutputLayout) -> dict[str, Any]:
        """Return what `--json` prints of it.

        Args:
            layout: of the folder in which the runs are.
        """
        return {
            "a": self.a.to_json(layout),
            "b": self.b.to_json(layout),
            "same_data": self.a.digest == self.b.digest,
            "configuration": [
                {"field": change.field, **change.values} for change in self.configuration
            ],
            "code": [
                {"nodes": list(change.nodes), "a": change.a, "b": change.b} for change in self.code
            ],
            "only_one_right": {
                name: {"a": pair.only_a, "b": pair.only_b} for name, pair in self.pairs.items()
            },
            "nodes": {name: {"a": a, "b": b} for name, (a, b) in self.nodes.items()},
        }


def choose(records: Records, wanted: str, argument: str) -> Record:
    """Find a run by what the user calls it.

    Args:
        records: of all runs.
        wanted: an id or the beginning of one, `latest` or `previous`.
        argument: the name of the argument, for the message.

    Raises:
        InputError: no such run, or several; or its record can't be read.
    """
    runs = {record.id: record for record in records.readable}
    if wanted in (LATEST, PREVIOUS):
        back = 1 if wanted == LATEST else 2
        if len(runs) < back:
            raise InputError(f"{argument}: there is no {wanted} run; there are {len(runs)} in all.")
        return records.readable[-back]
    matching = [name for name in (*runs, *records.unreadable) if name.startswith(wanted)]
    found = [name for name in matching if name == wanted] or matching
    if not found:
        raise InputError(
            f"{argument}: no run's id begins with {wanted!r}; `cxr runs` lists the "
            f"{len(runs)} there are."
        )
    if len(found) > 1:
        ids = ", ".join(found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise InputError(
            f"{argument}: {wanted!r} is the beginning of {ids}{more}; give more of it."
        )
    if found[0] in records.unreadable:
        raise InputError(f"{argument}: {records.unreadable[found[0]]}")
    return runs[found[0]]


def diff(a: Record, b: Record) -> Diff:
    """Compare two runs.

    Args:
        a: the one that is thought of as before.
        b: the one after.
    """
    return Diff(
        a=a,
        b=b,
        configuration=tuple(_changes(a, b)),
        code=tuple(_code(a, b)),
        pairs={name: pair for name in a.result.models if (pair := _pair(a, b, name)) is not None},
        nodes={
            name: (
                a.nodes[name].how if name in a.nodes else None,
                b.nodes[name].how if name in b.nodes else None,
            )
            for name in dict.fromkeys((*a.nodes, *b.nodes))
        },
    )


def _changes(a: Record, b: Record) -> Iterator[Change]:
    sides = {"a": _fields(a, b), "b": _fields(b, a)}
    for field in dict.fromkeys((*sides["a"], *sides["b"])):
        values = {side: fields[field] for side, fields in sides.items() if field in fields}
        # As JSON, since 1, 1.0 and true aren't the same in a configuration.
        texts = {json.dumps(value, sort_keys=True) for value in values.values()}
        if len(values) < 2 or len(texts) > 1:
            yield Change(field, values)


def _fields(record: Record, other: Record) -> dict[str, Any]:
    """All fields, but for the recipes of backbones that the other run doesn't have."""
    fields = {
        field: value
        for field, value in record.configuration.items()
        if not field.startswith(f"{RESOLVED}.")
        or field.split(".")[1] in other.configuration.get("backbones", ())
    }
    for above, found in (("found", record.found), ("versions", record.versions)):
        fields |= {f"{above}.{name}": value for name, value in found.items()}
    return fields


def _code(a: Record, b: Record) -> Iterator[CodeChange]:
    """Compare the nodes that both runs have; a node that only one has is itself the difference."""
    found: dict[tuple[str | None, str | None], list[str]] = {}
    for name, node in a.nodes.items():
        if name in b.nodes and node.code != b.nodes[name].code:
            found.setdefault((node.code, b.nodes[name].code), []).append(name)
    for (before, after), nodes in found.items():
        yield CodeChange(tuple(nodes), before, after)


def _pair(a: Record, b: Record, name: str) -> Pair | None:
    """From McNemar's figures, where one run's model was the other's baseline on the same split."""
    if a.digest is None or a.digest != b.digest or name not in b.result.models:
        return None
    for candidate, baseline in ((b, a), (a, b)):
        gate = candidate.result.models[name].gate
        only, other = gate.get(ONLY_CANDIDATE_RIGHT), gate.get(ONLY_BASELINE_RIGHT)
        if only is not None and other is not None and _is_baseline(candidate, baseline, name):
            found = (int(other), int(only))
            return Pair(*(found if candidate is b else reversed(found)))
    return None


def _is_baseline(candidate: Record, other: Record, name: str) -> bool:
    """Return whether the version that `candidate` was compared with is the other run's."""
    baseline, pushed = candidate.result.models[name].baseline, other.result.models[name].pushed_to
    return baseline is not None and baseline == pushed
