"""Cost as the work grows: the DAG up to Featurizer for more and more images.

`make bench-scale` runs it. Each count runs in a fresh process; smaller sets are part of the
larger ones. What is drawn stays in $CXR_BENCH_DIR (else output/bench); what a run writes is
removed at its end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measured_run import Spent, Wanted, measure
from benchmarks.phantom_sets import cache_folder, phantom_set
from common.errors import InputError

_COLUMNS: Final = ("RadiographExampleGen", "StatisticsGen", "Transform", "Featurizer")


def counts_of(text: str) -> list[int]:
    """Read the numbers in "300,1000".

    Raises:
        InputError: one is no number.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"counts: {text!r} must be numbers such as 300,1000.") from error


def line_of(data: Path, count: int, spent: dict[str, Spent], load: float) -> dict[str, Any]:
    """Return what is kept of one count."""
    named = {node.partition(".")[0]: each for node, each in spent.items()}
    nodes = {
        node: {
            "seconds": round(named[node].seconds, 2),
            "images_per_second": round(count / named[node].seconds, 2),
            "peak_mib": named[node].peak_mib,
        }
        for node in _COLUMNS
    }
    seconds = sum(named[node].seconds for node in _COLUMNS)
    return {
        "images": count,
        "mb": round(sum(file.stat().st_size for file in data.rglob("*.png")) / 1e6),
        "nodes": nodes,
        "seconds": round(seconds, 2),
        "images_per_second": round(count / seconds, 2),
        "peak_mib": max(named[node].peak_mib for node in _COLUMNS),
        "load_before": round(load, 1),
    }


def table_of(lines: list[dict[str, Any]]) -> Table:
    """Build a table: seconds, images a second and peak MiB of each node, and of all together."""
    heads = (*_COLUMNS, "together")
    table = Table("images", "MB", *(f"{head}: s, images/s, MiB" for head in heads), "load")
    for line in lines:
        cells = [line["nodes"][node] for node in _COLUMNS] + [line]
        table.add_row(
            str(line["images"]),
            str(line["mb"]),
            *(f"{c['seconds']:.0f}, {c['images_per_second']:.1f}, {c['peak_mib']}" for c in cells),
            str(line["load_before"]),
        )
    return table


def main(
    counts: Annotated[str, typer.Option(help="Numbers of images.")] = "300,1000,3000,10000",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
    backbone: Annotated[str, typer.Option(help="Whose features.")] = "vgg16",
    weights_dir: Annotated[Path | None, typer.Option(help="Random weights without.")] = None,
    beam: Annotated[str, typer.Option(help="As in `cxr run`.")] = "direct",
    output: Annotated[Path, typer.Option(help="Folder for scale.json.")] = Path("output/scale"),
) -> None:
    """Run the DAG up to Featurizer for each count and show what each node took."""
    cache = cache_folder()
    lines = []
    output.mkdir(parents=True, exist_ok=True)
    for count in counts_of(counts):
        data = phantom_set(cache, count, size=size)
        load = os.getloadavg()[0]
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
        try:
            node = f"Featurizer.{backbone}"
            spent = measure(Wanted(data, folder, node, beam, backbone, weights_dir))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        lines.append(line_of(data, count, spent, load))
        # After each: a long run that is stopped has told of the counts before.
        report = {"size": size, "backbone": backbone, "beam": beam, "counts": lines}
        (output / "scale.json").write_text(json.dumps(report, indent=1) + "\n")
        typer.echo(json.dumps(lines[-1]))
    Console(width=200).print(table_of(lines))


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"scale: {error}") from None
