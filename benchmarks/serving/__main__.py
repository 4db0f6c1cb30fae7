"""Throughput, latency, memory and parity of the embedded server, beside TensorFlow alone.

    make bench-serving DATA=… WEIGHTS=…
    make bench-serving DATA=… WEIGHTS=… ARGS="--config int8.yaml --engines openvino"

In one run, on the same images and cores: (a) the SavedModel's signature called in a loop, in a
process of its own, which is the best that TensorFlow Serving can do; (b) this server with
TensorFlow; (c) this server with OpenVINO. The clients run on the same cores. Models come from
`cxr run`, from its cache where it has run before.
"""

from __future__ import annotations

import base64
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import Load, memory_mib, over_http
from common.errors import InputError
from models.backbones import BACKBONES
from pipeline.cli import EXIT_NONE_BLESSED, EXIT_PUSHED
from pipeline.config.layout import OutputLayout
from serving.local_client import latest_version
from serving.process import running_server

CLIENTS = (1, 8, 32)
# What parity allows, and what the goals are.
_TOLERANCE = 0.02
_FASTER = 4.0


@dataclass(frozen=True)
class Measured:
    """One way of serving one model.

    Attributes:
        what: ran it.
        loads: of 1, 8 and 32 clients; of (a), one caller.
        memory: peak, MiB.
        answers: file -> probabilities.
    """

    what: str
    loads: tuple[Load, ...]
    memory: float
    answers: dict[str, list[float]]


def main(
    data: Annotated[Path, typer.Option(help="Folder of images, as of `cxr run`.")],
    weights_dir: Annotated[Path | None, typer.Option(help="Pre-trained weights.")] = None,
    output: Annotated[Path, typer.Option(help="Of the run that makes the models.")] = Path(
        "output/bench-serving"
    ),
    backbones: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(BACKBONES),
    images: Annotated[int, typer.Option(help="Asked about in turn.")] = 32,
    seconds: Annotated[float, typer.Option(help="A measurement.")] = 20.0,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Go on without weights.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Of the run, as one with serve.precision: int8.")
    ] = None,
    engines: Annotated[str, typer.Option(help="Of the server.")] = "tensorflow,openvino",
) -> None:
    """Measure and show."""
    layout = OutputLayout(output)
    names = [name.strip() for name in backbones.split(",")]
    _make_models(data, weights_dir, layout, names, random_weights, config)
    parity = _test_images(data, layout)
    asked = parity[:: max(1, len(parity) // images)][:images]
    console = Console(width=140, highlight=False)
    for name in names:
        version = latest_version(layout.serving, name)
        alone = in_process(version, asked, parity, seconds)
        ways = [
            served(layout.serving, name, engine, asked, parity, seconds)
            for engine in engines.split(",")
        ]
        show(console, name, [alone, *ways], len(parity))


def _make_models(
    data: Path,
    weights: Path | None,
    layout: OutputLayout,
    names: Sequence[str],
    random: bool,
    config: Path | None,
) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "run", "--data", str(data)]
    command += ["--output", str(layout.root), "--backbones", ",".join(names)]
    command += ["--weights-dir", str(weights)] if weights else []
    command += ["--allow-random-weights"] if random else []
    command += ["--config", str(config)] if config else []
    ran = subprocess.run(command, check=False)
    if ran.returncode not in (EXIT_PUSHED, EXIT_NONE_BLESSED):
        raise InputError(f"cxr run ended with {ran.returncode}")


def _test_images(data: Path, layout: OutputLayout) -> list[str]:
    """Find images of the test split, in the manifest's order."""
    summary = json.loads(layout.summary.read_text())
    file = Path(summary["data"]["manifest"]) / "manifest.csv"
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    return [str(data / row["file"]) for row in rows]


def in_process(
    version: Path, asked: Sequence[str], parity: Sequence[str], seconds: float
) -> Measured:
    """Measure case (a).

    Args:
        version: folder of the SavedModel.
        asked: files, asked about in turn.
        parity: files whose answers are kept.
        seconds: of asking.
    """
    with tempfile.TemporaryDirectory() as folder:
        lists = {name: Path(folder) / f"{name}.json" for name in ("images", "parity", "result")}
        lists["images"].write_text(json.dumps(asked))
        lists["parity"].write_text(json.dumps(parity))
        command = [sys.executable, "-m", "benchmarks.serving.inprocess", "--version", str(version)]
        command += ["--seconds", str(seconds)]
        for name, file in lists.items():
            command += [f"--{name}", str(file)]
        subprocess.run(command, check=True)
        found = json.loads(lists["result"].read_text())
    load = Load(1, found["seconds"], tuple(found["latencies"]))
    return Measured("(a) signature in a loop", (load,), found["memory"], found["answers"])


def served(
    serving: Path,
    name: str,
    engine: str,
    asked: Sequence[str],
    parity: Sequence[str],
    seconds: float,
) -> Measured:
    """Measure cases (b) and (c).

    Args:
        serving: folder of models.
        name: of the one to ask.
        engine: of the server.
        asked: files, asked about in turn.
        parity: files whose answers are kept.
        seconds: of asking, for each number of clients.
    """
    with tempfile.TemporaryDirectory() as folder:
        # That model alone, so that the memory is its own.
        (Path(folder) / name).symlink_to((serving / name).resolve())
        with running_server("--model-dir", folder, "--engine", engine) as server:
            url = f"{server.url}/v1/models/{name}:predict"
            bodies = [_body(file) for file in asked]
            over_http(url, bodies, 2, 3.0)
            loads = tuple(over_http(url, bodies, clients, seconds) for clients in CLIENTS)
            answers = {file: _answer(url, file) for file in parity}
            memory = memory_mib(server.process.pid)
            used = server.engine_of(name)
    letter = "(b)" if engine == "tensorflow" else "(c)"
    return Measured(f"{letter} server, {used}", loads, memory, answers)


def _body(file: str) -> bytes:
    instance = {"b64": base64.b64encode(Path(file).read_bytes()).decode()}
    return json.dumps({"instances": [instance]}).encode()


def _answer(url: str, file: str) -> list[float]:
    answer: Any = requests.post(url, data=_body(file), timeout=120).json()
    return [float(p) for p in answer["predictions"][0]["probabilities"]]


def show(console: Console, name: str, measured: Sequence[Measured], images: int) -> None:
    """Print a table and what of the goals is met.

    Args:
        console: to print on.
        name: of the model.
        measured: (a) first, (c) last.
        images: whose answers were compared.
    """
    alone = measured[0]
    base = alone.loads[0]
    table = Table(
        *("", "clients", "images/s", "beside (a)", "p50 ms", "p99 ms", "failed", "peak MiB"),
        title=name,
    )
    for way in measured:
        for load in way.loads:
            table.add_row(
                way.what,
                str(load.clients),
                f"{load.throughput:.1f}",
                f"{load.throughput / base.throughput:.2f}×",
                f"{1000 * load.percentile(50):.0f}",
                f"{1000 * load.percentile(99):.0f}",
                str(load.failed + load.refused),
                f"{way.memory:.0f}",
            )
    console.print(table)
    fast = measured[-1]
    best = max(load.throughput for load in fast.loads) / base.throughput
    bound = 8 * base.percentile(50)
    (eight,) = [load for load in fast.loads if load.clients == 8]
    p99 = eight.percentile(99)
    console.print(f"throughput: {best:.2f}× (a); goal {_FASTER:g}×: {_met(best >= _FASTER)}")
    console.print(
        f"p99 at 8 clients: {p99:.2f} s; goal 8 × (a)'s p50 = {bound:.2f} s: {_met(p99 <= bound)}"
    )
    for way in measured[1:]:
        differences, changed = _parity(alone.answers, way.answers)
        met = changed == 0 and differences <= _TOLERANCE
        console.print(
            f"parity of {way.what} with (a) on {images} test images: {changed} other classes, "
            f"largest difference {differences:.4f} (allowed {_TOLERANCE}): {_met(met)}"
        )


def _parity(a: dict[str, list[float]], b: dict[str, list[float]]) -> tuple[float, int]:
    largest = max(abs(p - q) for file in a for p, q in zip(a[file], b[file], strict=True))
    changed = sum(a[f].index(max(a[f])) != b[f].index(max(b[f])) for f in a)
    return largest, changed


def _met(met: bool) -> str:
    return "met" if met else "NOT met"


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"bench-serving: {error}") from None
