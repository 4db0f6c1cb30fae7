"""The tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.training.arithmetic import (
    CASES,
    COLD,
    OTHER_HEAD,
    PAPER,
    STOCK,
    UNCHANGED,
    Measured,
    accuracy_of,
    goals,
    paper_key,
    paper_seconds,
    seconds_of,
    times_faster,
)
from models.backbones import get_backbone

_MISSING: Final = "–"
# Of the nodes' seconds, those that matter.
_SHOWN_NODES: Final = 12


def show(measured: Measured, backbones: Sequence[str], epochs: int, console: Console) -> None:
    """Print what was measured, and which goals were met.

    Args:
        measured: key -> measurement.
        backbones: all that the benchmark is about.
        epochs: of the stock pipeline's trainings.
        console: prints.
    """
    console.print(_cases(measured, backbones, epochs))
    if any(key.startswith(f"{PAPER}.") for key in measured):
        console.print(_paper(measured, backbones))
        console.print("(a) is not trained to its end here: its accuracy is the paper's own.")
    nodes = _nodes(measured)
    if nodes.row_count:
        console.print(nodes)
    for goal in goals(measured, backbones):
        verdict = "met" if goal.met else "MISSED"
        console.print(f"{verdict:<6}  {goal.what}: wanted {goal.wanted}, got {goal.got}")


def _titles(epochs: int) -> Mapping[str, str]:
    return {
        PAPER: "(a) the paper's recipe, extrapolated",
        STOCK: f"(b) stock TFX pipeline, epochs: {epochs}",
        COLD: "(c) this pipeline, cold",
        OTHER_HEAD: "(d) this pipeline, another head",
        UNCHANGED: "(e) this pipeline, nothing changed",
    }


def _cases(measured: Measured, backbones: Sequence[str], epochs: int) -> Table:
    table = Table("case", "seconds", *backbones, "times faster than (a)", "than (b)", "nodes run")
    for case in CASES:
        spent = seconds_of(case, measured, backbones)
        if spent is None:
            continue
        accuracy = accuracy_of(case, measured)
        ratios = [
            None if case == beside else times_faster(case, beside, measured, backbones)
            for beside in (PAPER, STOCK)
        ]
        executed = measured[case].get("executed") if case in measured else None
        table.add_row(
            _titles(epochs)[case],
            f"{spent:.1f}",
            *(f"{accuracy[name]:.2%}" if name in accuracy else _MISSING for name in backbones),
            *map(_times, ratios),
            _MISSING if executed is None else str(executed),
        )
    return table


def _times(ratio: float | None) -> str:
    if ratio is None:
        return _MISSING
    return f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2g}×"


def _paper(measured: Measured, backbones: Sequence[str]) -> Table:
    table = Table("(a), seconds", "1st epoch", "2nd", "mean", "epochs", "2nd × epochs")
    for name in backbones:
        if paper_key(name) not in measured:
            continue
        first, second = measured[paper_key(name)]["epochs"]
        count = get_backbone(name).paper.epochs
        mean = (first + second) / 2
        whole = paper_seconds([first, second], count)
        table.add_row(
            name, f"{first:.1f}", f"{second:.1f}", f"{mean:.1f}", str(count), f"{whole:.0f}"
        )
    return table


def _nodes(measured: Measured) -> Table:
    cases = [case for case in (STOCK, COLD, OTHER_HEAD, UNCHANGED) if case in measured]
    longest: dict[str, float] = {}
    for case in cases:
        for node, spent in measured[case]["nodes"].items():
            longest[node] = max(spent, longest.get(node, 0.0))
    table = Table("node, seconds", *(f"({case})" for case in cases))
    ranked = sorted(longest, key=longest.__getitem__, reverse=True)
    for node in ranked[:_SHOWN_NODES]:
        spent_by_case = (measured[case]["nodes"].get(node) for case in cases)
        table.add_row(node, *(_MISSING if s is None else f"{s:.1f}" for s in spent_by_case))
    return table
