"""Peak memory of every node up to Transform as the number of images grows.

`make bench-memory` runs it. Each count runs in a process of its own, since a process never
tells how much it would have needed less. Linux only: the peak is read from /proc.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measured_run import Wanted, measure
from pipeline.phantoms import write_phantoms

_NODES: Final = ("RadiographExampleGen", "StatisticsGen", "Transform")


def main(
    counts: Annotated[str, typer.Option(help="Numbers of images, comma-separated.")] = "90,360",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
) -> None:
    """Run the beginning of the DAG for each count and show what each node needed."""
    table = Table("images", "MB", *(f"{node}: s, peak MiB" for node in _NODES))
    for count in map(int, counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            data = write_phantoms(Path(folder) / "data", [count // 3] * 3, size=size)
            stored = sum(file.stat().st_size for file in data.rglob("*.png"))
            output = Path(folder) / "out"
            output.mkdir()
            spent = measure(Wanted(data, output, _NODES[-1]))
            cells = [f"{spent[node].seconds:.0f}, {spent[node].peak_mib}" for node in _NODES]
            table.add_row(str(count), f"{stored / 1e6:.0f}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
