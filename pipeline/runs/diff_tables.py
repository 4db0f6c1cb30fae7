"""What a person sees of how two runs differ, in 100 columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import rich.console
from rich.table import Table

from pipeline.runs.diff import Change, Diff
from pipeline.runs.record import Model
from pipeline.runs.tables import (
    NOTHING,
    digest,
    ended,
    new_table,
    print_table,
    right,
    yes_no,
)

_SHA256: Final = re.compile("[0-9a-f]{64}")


def print_diff(console: rich.console.Console, found: Diff) -> None:
    """Prints who is compared, then what differs: configuration, code, data, results, nodes.

    Args:
        console: to print on.
        found: the comparison.
    """
    for letter, record in (("A", found.a), ("B", found.b)):
        console.print(f"{letter}  {record.run.id}: {ended(record)}, {record.run.seconds:.0f} s")
    console.print()
    if found.choices:
        print_table(console, _changes("Configuration", found.choices, _value))
    else:
        console.print("The configuration is the same in all nodes that both runs have.")
    if found.code:
        print_table(console, _changes("Code", found.code, digest))
    else:
        console.print("So is the code." if not found.choices else "The code is the same.")
    if found.a.digest == found.b.digest and found.a.digest:
        console.print(f"The data are the same, by their digest {digest(found.a.digest)}.")
    else:
        print_table(console, _data(found))
    console.print()
    print_table(console, _results(found))
    if found.pairs:
        console.print("only A, only B: images that only this run's model gets right.")
    champions = _both(found.a.champion or "none", found.b.champion or "none")
    console.print(f"Champion: {champions}\n")
    print_table(console, _nodes(found))


def _changes(title: str, changes: Sequence[Change], show: Any) -> Table:
    table = new_table(title, "field", "A", "B", "nodes")
    for change in changes:
        sides = [
            show(change.values[side]) if side in change.values else NOTHING for side in ("a", "b")
        ]
        table.add_row(change.field, *sides, _grouped(change.nodes))
    return table


def _value(value: Any) -> str:
    # Six digits take back the rounding that components/evaluator/eval_config.py lays on bounds.
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return digest(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data(found: Diff) -> Table:
    table = new_table("Data", "", "A", "B")
    table.add_row("digest", digest(found.a.digest), digest(found.b.digest))
    for split in dict.fromkeys((*found.a.counts, *found.b.counts)):
        sides = [record.counts.get(split, {}) for record in (found.a, found.b)]
        for name in dict.fromkeys((*sides[0], *sides[1])):
            table.add_row(f"{split}, {name}", *(str(side.get(name, NOTHING)) for side in sides))
    return table


def _results(found: Diff) -> Table:
    headings = ["model", "right in A", "right in B", "B − A"]
    if found.pairs:
        headings += ["only A", "only B"]
    table = new_table("Results on the test split", *headings, "blessed", "pushed")
    for name in found.models:
        a, b = found.a.models.get(name), found.b.models.get(name)
        row = [name, right(a), right(b), _difference(found, a, b)]
        if found.pairs:
            pair = found.pairs.get(name)
            row += [str(pair.only_a), str(pair.only_b)] if pair else [NOTHING, NOTHING]
        table.add_row(
            *row,
            _both(yes_no(a.blessed if a else None), yes_no(b.blessed if b else None)),
            _both(yes_no(a.pushed if a else None), yes_no(b.pushed if b else None)),
        )
    return table


def _difference(found: Diff, a: Model | None, b: Model | None) -> str:
    """In images where the test split is the same one, else in points."""
    if a is None or b is None or a.figures is None or b.figures is None:
        return NOTHING
    if found.a.digest == found.b.digest and a.figures.total == b.figures.total:
        images = b.figures.correct - a.figures.correct
        return f"{images:+d}" if images else "0"
    if not a.figures.total or not b.figures.total:
        return NOTHING
    points = b.figures.correct / b.figures.total - a.figures.correct / a.figures.total
    return f"{100 * points:+.1f} points"


def _nodes(found: Diff) -> Table:
    """Nodes that fared alike, together."""
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for name, hows in found.nodes.items():
        alike.setdefault(hows, []).append(name)
    table = new_table("Nodes", "in A", "in B", "number", "which")
    for (a, b), names in alike.items():
        table.add_row(a or NOTHING, b or NOTHING, str(len(names)), _grouped(names))
    return table


def _both(a: str, b: str) -> str:
    return a if a == b else f"{a} → {b}"


def _grouped(nodes: Sequence[str]) -> str:
    """Nodes of one kind in one: `Trainer.vgg16, Trainer.xception` → `Trainer.{vgg16,xception}`."""
    return ", ".join(_of_a_kind(nodes))


def _of_a_kind(nodes: Sequence[str]) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        kind, _, name = node.partition(".")
        kinds.setdefault(kind, []).append(name)
    for kind, names in kinds.items():
        if names == [""]:
            yield kind
        elif len(names) == 1:
            yield f"{kind}.{names[0]}"
        else:
            yield f"{kind}.{{{','.join(names)}}}"
