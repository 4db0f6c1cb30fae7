"""Asks a server for minutes: requests, errors, latency, and memory at start and end.

make bench-serving-steady ARGS="--model-dir output/serving --minutes 10"
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import memory_mib, over_http
from common.errors import InputError
from serving.prediction import files_in
from serving.process import running_server


def main(
    images: Annotated[Path, typer.Option(help="Folder to ask about.")],
    model_dir: Annotated[Path, typer.Option(help="A run's serving folder.")] = Path(
        "output/serving"
    ),
    model: Annotated[str, typer.Option(help="To ask.")] = "champion",
    clients: Annotated[int, typer.Option(help="At the same time.")] = 8,
    minutes: Annotated[float, typer.Option(help="In all.")] = 10.0,
) -> None:
    """Ask, minute by minute."""
    bodies = []
    for file in files_in([images])[:64]:
        instance = {"b64": base64.b64encode(file.read_bytes()).decode()}
        bodies.append(json.dumps({"instances": [instance]}).encode())
    table = Table(
        *("minute", "answered", "429", "other errors", "p50 ms", "p99 ms", "memory MiB"),
        title=f"{model}, {clients} clients",
    )
    failed = 0
    with running_server("--model-dir", str(model_dir)) as server:
        url = f"{server.url}/v1/models/{model}:predict"
        over_http(url, bodies, clients, 5.0)
        begin = memory_mib(server.process.pid, "VmRSS")
        table.add_row("0", "", "", "", "", "", f"{begin:.0f}")
        left = minutes
        minute = 0.0
        while left > 0:
            load = over_http(url, bodies, clients, 60 * min(1.0, left))
            minute += min(1.0, left)
            left -= 1.0
            failed += load.failed
            table.add_row(
                f"{minute:g}",
                str(len(load.latencies)),
                str(load.refused),
                str(load.failed),
                f"{1000 * load.percentile(50):.0f}",
                f"{1000 * load.percentile(99):.0f}",
                f"{memory_mib(server.process.pid, 'VmRSS'):.0f}",
            )
    Console(width=100).print(table)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"steady: {error}") from None
