"""The cost of starting: the help, one prediction, and a run in which nothing is to be computed.

`make bench-startup` runs it. Each is a fresh process, as a user starts it; the commands take turns,
round by round. The environment that it runs in is measured: for both generations of TFX it is run
once in each.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

_CXR: Final = str(Path(sys.executable).parent / "cxr")


def _seconds(arguments: list[str]) -> float:
    started = time.monotonic()
    ran = subprocess.run(
        [_CXR, *arguments], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ran.returncode:
        raise SystemExit(f"cxr {' '.join(arguments)} failed:\n{ran.stdout}")
    return time.monotonic() - started


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Medians are shown.")] = 5,
    data: Annotated[Path | None, typer.Option(help="Images of --output.")] = None,
    output: Annotated[Path | None, typer.Option(help="A run that is there.")] = None,
    preset: Annotated[str, typer.Option(help="Of that run.")] = "demo",
) -> None:
    """Time the commands; without a run, phantoms are drawn and one is made first."""
    with tempfile.TemporaryDirectory() as scratch:
        data = data or Path(scratch) / "phantoms"
        output = output or Path(scratch) / "run"
        if not data.exists():
            _seconds(["phantoms", "--out", str(data)])
        run = ["run", "--data", str(data), "--preset", preset, "--output", str(output)]
        # Once more where it is there, so that the first round finds all cached.
        _seconds(run)
        image = min(data.rglob("*.png"))
        commands = {
            "cxr --help": ["--help"],
            "cxr predict": ["predict", str(image), "--model-dir", str(output / "serving")],
            "cxr run, all cached": run,
        }
        loads = []
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            loads.append(os.getloadavg()[0])
            for name, arguments in commands.items():
                found.setdefault(name, []).append(_seconds(arguments))
    table = Table("command", "median s", "least s", "most s")
    for name, seconds in found.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    console = Console(width=120)
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("tfx", "tensorflow"))
    console.print(f"{versions}, Python {platform.python_version()}, {rounds} rounds")
    console.print(f"load average before each round: {min(loads):.1f} to {max(loads):.1f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
