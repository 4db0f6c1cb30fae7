"""The tables of how two runs differ, in 100 columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import rich.console
from rich.table import Table

from pipeline.config.provenance import RESOLVED
from pipeline.runs.diff import Diff
from pipeline.runs.record import Model
from pipeline.runs.tables import (
    NOTHING,
    digest,
    ended,
    new_table,
    print_table,
    pushed,
    right,
    yes_no,
)

_SHA256: Final = re.compile("[0-9a-f]{64}")


def print_diff(console: rich.console.Console, found: Diff) -> None:
    """Print which runs are compared, then what differs: configuration, code, data, results, nodes.

    Args:
        console: to print on.
        found: the comparison.
    """
    for letter, record in (("A", found.a), ("B", found.b)):
        console.print(f"{letter}  {record.id}: {ended(record)}, {record.seconds:.0f} s")
    console.print()
    if found.configuration:
        print_table(console, _configuration(found))
    else:
        console.print("The configuration is the same.")
    if found.code:
        table = new_table("Code", "nodes", "A", "B")
        for code in found.code:
            table.add_row(_grouped(code.nodes), digest(code.a), digest(code.b))
        print_table(console, table)
    else:
        console.print("The code is the same.")
    if found.a.digest == found.b.digest and found.a.digest:
        console.print(f"The data are the same, by their digest {digest(found.a.digest)}.")
    else:
        print_table(console, _data(found))
    console.print()
    print_table(console, _results(found))
    if found.pairs:
        console.print("only A, only B: images that only this run's model gets right.")
    champions = _both(found.a.result.champion or "none", found.b.result.champion or "none")
    console.print(f"Champion: {champions}\n")
    print_table(console, _nodes(found))


def _configuration(found: Diff) -> Table:
    """Recipes of backbones that differ alike, together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for change in found.configuration:
        sides = [
            _value(change.values[side]) if side in change.values else NOTHING for side in ("a", "b")
        ]
        above, backbone, rest = (*change.field.split(".", 2), "", "")[:3]
        whose, field = (f"{above}.{backbone}", rest) if above == RESOLVED else ("", change.field)
        alike.setdefault((field, *sides), []).append(whose)
    table = new_table("Configuration", "field", "A", "B")
    for (field, *sides), recipes in alike.items():
        table.add_row(f"{_grouped(recipes)}.{field}".removeprefix("."), *sides)
    return table


def _value(value: Any) -> str:
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
        a, b = found.a.result.models.get(name), found.b.result.models.get(name)
        row = [name, right(a), right(b), _difference(found, a, b)]
        if found.pairs:
            pair = found.pairs.get(name)
            row += [str(pair.only_a), str(pair.only_b)] if pair else [NOTHING, NOTHING]
        table.add_row(
            *row,
            _both(yes_no(a.blessed if a else None), yes_no(b.blessed if b else None)),
            _both(pushed(a), pushed(b)),
        )
    return table


def _difference(found: Diff, a: Model | None, b: Model | None) -> str:
    """In images where the test split is the same one, else in points."""
    if a is None or b is None or not a.total or not b.total:
        return NOTHING
    if found.a.digest == found.b.digest:
        images = b.correct - a.correct
        return f"{images:+d}" if images else "0"
    return f"{100 * (b.correct / b.total - a.correct / a.total):+.1f} points"


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
