"""The server with its prediction log beside the same server without: throughput, CPU a request.

    make bench-serving-log DATA=folder
    make bench-serving-log ARGS="--model-dir output/serving --model champion"

All servers run at the same time, and are asked in turns, so that whatever else the machine does
befalls each alike. CPU seconds a request say what the log costs where the clock is no witness.
Without a folder of models, one backbone of real size with random weights is served.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import over_http
from common.errors import InputError
from pipeline.phantoms import write_phantoms
from serving.prediction import files_in
from serving.prediction_log.reading import Reading, find_shards, read_shards
from serving.process import Server, running_server

_WITHOUT: Final = "no log"
_EVERY: Final = "log, every image measured"
_WAYS: Final[Mapping[str, tuple[str, ...] | None]] = {
    _WITHOUT: None,
    "log": (),
    _EVERY: ("--prediction-log-statistics", "1000000"),
}
_IMAGES: Final = 64
_SAME: Final = "1"


@dataclass
class Figures:
    """The figures of one way of serving, a value a turn.

    Attributes:
        throughput: requests a second.
        cpu: CPU milliseconds of the server a request.
        answered: requests in all.
        failed: those that were not answered with 200.
    """

    throughput: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0


def main(
    data: Annotated[Path | None, typer.Option(help="Images to ask about; else phantoms.")] = None,
    model_dir: Annotated[Path | None, typer.Option(help="A run's serving folder.")] = None,
    model: Annotated[str, typer.Option(help="To ask; a backbone without --model-dir.")] = (
        "densenet121"
    ),
    clients: Annotated[int, typer.Option(help="At the same time.")] = 8,
    seconds: Annotated[float, typer.Option(help="A turn.")] = 10.0,
    turns: Annotated[int, typer.Option(min=1, help="Of each; medians are shown.")] = 6,
    every: Annotated[bool, typer.Option(help="Also a log that measures every image.")] = True,
) -> None:
    """Measure and show; many short turns tell a small difference better than few long ones."""
    ways = {way: flags for way, flags in _WAYS.items() if every or way != _EVERY}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        place = Path(scratch)
        served = place / "served"
        served.mkdir()
        if model_dir is None:
            from benchmarks.serving.random_models import write_backbone

            write_backbone(served, model)
        else:
            (served / model).symlink_to((model_dir / model).resolve())
        bodies = _bodies(data or write_phantoms(place / "phantoms", [24, 24, 24], size=299))
        servers = {}
        for number, (way, flags) in enumerate(ways.items()):
            arguments = ["--model-dir", str(served)]
            if flags is not None:
                arguments += ["--prediction-log-dir", str(place / f"log-{number}"), *flags]
            servers[way] = stack.enter_context(running_server(*arguments))
        found = _measure(servers, model, bodies, clients, seconds, turns)
        stack.close()
        logged = {
            way: _records(place / f"log-{number}") if flags is not None else 0
            for number, (way, flags) in enumerate(ways.items())
        }
    _show(found, logged, model, clients)
    if any(figures.failed for figures in found.values()):
        raise typer.Exit(1)


def _bodies(images: Path) -> list[bytes]:
    files = files_in([images])
    bodies = []
    for file in files[:: max(1, len(files) // _IMAGES)][:_IMAGES]:
        instance = {"b64": base64.b64encode(file.read_bytes()).decode()}
        bodies.append(json.dumps({"instances": [instance]}).encode())
    return bodies


def _measure(
    servers: Mapping[str, Server],
    model: str,
    bodies: Sequence[bytes],
    clients: int,
    seconds: float,
    turns: int,
) -> dict[str, Figures]:
    found = {way: Figures() for way in servers}
    for turn in range(turns + 1):
        # Each way goes first as often as any other.
        ways = list(servers)
        shift = turn % len(ways)
        for way in ways[shift:] + ways[:shift]:
            server, figures = servers[way], found[way]
            before = _cpu_seconds(server.process.pid)
            load = over_http(f"{server.url}/v1/models/{model}:predict", bodies, clients, seconds)
            spent = _cpu_seconds(server.process.pid) - before
            figures.answered += len(load.latencies)
            figures.failed += load.failed + load.refused
            if turn:  # the first one warms up
                figures.throughput.append(load.throughput)
                figures.cpu.append(1000 * spent / len(load.latencies))
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _records(folder: Path) -> int:
    reading = Reading()
    return sum(1 for _ in read_shards(find_shards(folder), reading))


def _show(
    found: Mapping[str, Figures], logged: Mapping[str, int], model: str, clients: int
) -> None:
    base = found[_WITHOUT]
    table = Table(
        *("", "requests/s", "beside none", "CPU ms a request", "beside none", "asked", "logged"),
        title=f"{model}, {clients} clients; in brackets the 95 % interval of the median",
    )
    for way, figures in found.items():
        # Turn by turn: neighbours in time are compared.
        faster = [a / b for a, b in zip(figures.throughput, base.throughput, strict=True)]
        dearer = [a / b for a, b in zip(figures.cpu, base.cpu, strict=True)]
        beside = [_SAME, _SAME] if way == _WITHOUT else [_median(faster), _median(dearer)]
        table.add_row(
            way,
            f"{statistics.median(figures.throughput):.1f}",
            beside[0],
            f"{statistics.median(figures.cpu):.2f}",
            beside[1],
            str(figures.answered),
            str(logged[way]),
        )
    Console(width=120).print(table)


def _median(ratios: Sequence[float]) -> str:
    """Show the median, and the middle 95 % of those of 10,000 draws of as many turns."""
    draws = np.random.default_rng(0).choice(np.asarray(ratios), (10_000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return f"{statistics.median(ratios):.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"bench-serving-log: {error}") from None
