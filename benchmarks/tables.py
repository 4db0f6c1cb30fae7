"""Memory of reading tables of more and more rows, with columns that models take.

`python -m benchmarks.tables --counts 100000,1000000` runs it; a count after the other, each in a
process of its own, since a process never tells how much it would have needed less. Linux only: the
peak is read from /proc.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from components.radiograph_example_gen.metadata import parse_metadata
from schema.table import TableColumn

_NUMBERS: Final = 8
_STATUS: Final = Path("/proc/self/status")


def main(
    counts: Annotated[str, typer.Option(help="Numbers of rows.")] = "100000,1000000",
    one: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Read a made table for each count, and show what that took."""
    if one:
        print(_read(one))
        return
    table = Table(
        "rows", "file, MB", "s", "s to read all again", "peak beside the file, MiB",
        "kept, bytes a row",
    )  # fmt: skip
    for count in counts.split(","):
        command = [sys.executable, "-m", "benchmarks.tables", "--one", count]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        table.add_row(count, *done.stdout.split())
    Console(width=100).print(table)


def _read(count: int) -> str:
    content = _made(count)
    columns = [TableColumn(f"v{n}", f"v{n}", "numeric", high=600) for n in range(_NUMBERS)]
    columns.append(TableColumn("sex", "sex", "categorical"))
    before, began = _status("VmRSS"), time.monotonic()
    # From here on the peak counts anew.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    parsed = parse_metadata(content, table=columns)
    seconds = time.monotonic() - began
    assert len(parsed.rows) == count
    began = time.monotonic()
    assert sum(1 for _ in parsed.rows) == count
    again = time.monotonic() - began
    kept, peak = _status("VmRSS") - before, _status("VmHWM") - before
    times = f"{seconds:.0f} {again:.0f}"
    return f"{len(content) / 1e6:.0f} {times} {peak / 1024:.0f} {kept * 1024 / count:.0f}"


def _made(count: int) -> bytes:
    drawn = random.Random(0)
    names = ",".join(f"v{n}" for n in range(_NUMBERS))
    lines = [f"file,patient_id,sex,age,view,{names}"]
    for row in range(count):
        cells = ["" if drawn.random() < 0.3 else f"{drawn.random() * 500:.1f}" for _ in range(8)]
        known = f"img/{row:08d}.png,p{row // 3:07d},{'FM'[row % 2]},{row % 90},PA"
        lines.append(",".join([known, *cells]))
    return "\n".join(lines).encode()


def _status(field: str) -> int:
    """Read a field of the process's status, in KiB."""
    return int(_STATUS.read_text(encoding="ascii").partition(f"{field}:")[2].split()[0])


if __name__ == "__main__":
    typer.run(main)
