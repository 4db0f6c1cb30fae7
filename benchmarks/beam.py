"""ExampleGen and Transform on Beam in this process, and on one worker process a core.

`make bench-beam` runs it: both ways in turn, round by round, each in a fresh process. By
what it shows the default of `beam` is set.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measured_run import Spent, Wanted, measure
from benchmarks.phantom_sets import cache_folder, phantom_set

_COMPARED: Final = ("RadiographExampleGen", "Transform")


def _seconds(rounds: list[dict[str, Spent]], node: str) -> float:
    return statistics.median(spent[node].seconds for spent in rounds)


def main(
    images: Annotated[int, typer.Option(help="Phantoms.")] = 3000,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
    rounds: Annotated[int, typer.Option(help="Medians are shown.")] = 3,
    ways: Annotated[str, typer.Option(help="Values of `beam`, comma-separated.")] = "direct,multi",
    json_file: Annotated[Path | None, typer.Option("--json", help="Every round's figures.")] = None,
) -> None:
    """Run the beginning of the DAG either way and show what each node took."""
    data = phantom_set(cache_folder(), images, size=size)
    found: dict[str, list[dict[str, Spent]]] = {way: [] for way in ways.split(",")}
    loads = []
    for _ in range(rounds):
        for way, measured in found.items():
            loads.append(os.getloadavg()[0])
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                wanted = Wanted(data, Path(folder) / "run", _COMPARED[-1], beam=way)
                wanted.output.mkdir()
                measured.append(measure(wanted))
    if json_file:
        values = {way: [{n: vars(s) for n, s in r.items()} for r in m] for way, m in found.items()}
        json_file.write_text(
            json.dumps({"images": images, "load": loads, "ways": values}, indent=1)
        )
    table = Table("beam", *(f"{node}: s" for node in _COMPARED), "both: s", "images/s", "peak MiB")
    for way, measured in found.items():
        parts = [_seconds(measured, node) for node in _COMPARED]
        both = statistics.median(sum(r[n].seconds for n in _COMPARED) for r in measured)
        peak = max(r[n].peak_mib for r in measured for n in _COMPARED)
        cells = (*(f"{part:.1f}" for part in parts), f"{both:.1f}", f"{images / both:.0f}")
        table.add_row(way, *cells, str(peak))
    Console(width=120).print(f"{images} phantoms of {size} pixels, {rounds} rounds, medians")
    Console(width=120).print(f"load average before each run: {min(loads):.1f} to {max(loads):.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
