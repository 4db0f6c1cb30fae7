"""`cxr serve` from its start to `/readyz`, and its memory: the first time, and every later time.

    make bench-serving-start
    make bench-serving-start ARGS="--before ../old --rounds 3"

Models of real size with random weights are written first, unless a folder of models is given. Each
start is a process of its own. The first one finds no converted networks, the later ones those that
it kept. With `--before`, another checkout's server starts on the same models, in turns.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import requests
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import memory_mib
from common.errors import InputError
from pipeline.phantoms import write_phantoms
from serving.process import free_port

_HERE: Final = Path(__file__).parents[2]
_PATIENCE_S: Final = 900.0
_MODELS: Final = "vgg16,xception,densenet121,ensemble,cascade,champion"
# Asked one after the other; of them the least is the time of one that nobody disturbed.
_LONE_REQUESTS: Final = 10


@dataclass(frozen=True)
class Start:
    """The figures of one start.

    Attributes:
        ready: seconds to `/readyz`.
        memory: resident then, MiB.
        peak: of it until then.
        used: resident after each model was asked, by one client and by several.
        lone: model -> seconds of a lone request.
        answers: model -> probabilities.
    """

    ready: float
    memory: float
    peak: float
    used: float
    lone: Mapping[str, float]
    answers: Mapping[str, list[float]]


def main(
    model_dir: Annotated[
        Path | None, typer.Option(help="Folder of models; else some are written.")
    ] = None,
    models: Annotated[str, typer.Option(help="Those of it that are served.")] = _MODELS,
    before: Annotated[Path | None, typer.Option(help="Another checkout, to compare with.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Later starts; medians are shown.")] = 3,
    keep: Annotated[Path | None, typer.Option(help="Folder to write the models into.")] = None,
) -> None:
    """Measure and show."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = model_dir or keep or folder / "written"
        if not source.exists():
            _write_models(source)
        served = folder / "served"
        served.mkdir()
        for name in models.split(","):
            if not (source / name).is_dir():
                raise InputError(f"models: {source} has no {name}.")
            (served / name).symlink_to((source / name).resolve())
        write_phantoms(folder / "phantoms", per_class=(1, 1, 1), size=256, seed=0)
        image = min((folder / "phantoms").rglob("*.png")).read_bytes()
        first = measured(_HERE, served, folder / "networks", image)
        later, old = [], []
        for _ in range(rounds):
            later.append(measured(_HERE, served, folder / "networks", image))
            if before is not None:
                old.append(measured(before.resolve(), served, folder / "networks", image))
    show({"first start": [first], "later starts": later, **({"before": old} if old else {})})


def _write_models(folder: Path) -> None:
    """Write them in a process of its own, whose memory is not this one's."""
    code = (
        "import sys, pathlib; from common.runtime import prepare_environment; "
        "prepare_environment(); from benchmarks.serving.random_models import write_models; "
        "write_models(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=_HERE)


def measured(checkout: Path, models: Path, networks: Path, image: bytes) -> Start:
    """Start a server once, and ask it.

    Args:
        checkout: whose server.
        models: folder of models.
        networks: folder for converted networks.
        image: to ask about.
    """
    began = time.monotonic()
    with _process(checkout, models, networks) as (process, url):
        while not is_ready(url):
            if process.poll() is not None or time.monotonic() - began > _PATIENCE_S:
                raise InputError(f"the server of {checkout} doesn't get ready.")
            time.sleep(0.05)
        ready = time.monotonic() - began
        memory, peak = memory_mib(process.pid, "VmRSS"), memory_mib(process.pid)
        lone, answers = {}, {}
        names = sorted(path.name for path in models.iterdir())
        one, several = _body(image, 1), _body(image, 4)
        for name in names:
            asked = f"{url}/v1/models/{name}:predict"
            seconds = []
            for _ in range(_LONE_REQUESTS):
                since = time.monotonic()
                answer = requests.post(asked, data=one, timeout=300).json()["predictions"][0]
                seconds.append(time.monotonic() - since)
            lone[name], answers[name] = min(seconds), answer["probabilities"]
            requests.post(asked, data=several, timeout=300).raise_for_status()
        used = memory_mib(process.pid, "VmRSS")
    return Start(ready, memory, peak, used, lone, answers)


def _body(image: bytes, count: int) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}] * count}).encode()


def is_ready(url: str) -> bool:
    """Ask a server whether all its models answer."""
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == requests.codes.ok
    except requests.RequestException:
        return False


@contextmanager
def _process(
    checkout: Path, models: Path, networks: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--model-dir", str(models)]
    command += ["--port", str(port), "--grpc-port", "0"]
    # By the environment: an earlier checkout has no such option.
    changed = {"PYTHONPATH": str(checkout), "CXR_NETWORK_CACHE": str(networks)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=os.environ | changed, cwd=checkout, stdout=log, stderr=log
        )
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def show(starts: Mapping[str, list[Start]]) -> None:
    """Print medians, and how they compare with the last kind's.

    Args:
        starts: kind -> those that were measured; the last kind is compared with.
    """
    console = Console(width=120, highlight=False)
    table = Table("", "to /readyz s", "least s", "MiB", "peak MiB", "MiB when used")
    for kind, found in starts.items():
        ready = [start.ready for start in found]
        sizes = [statistics.median(values) for values in zip(
            *((start.memory, start.peak, start.used) for start in found), strict=True
        )]  # fmt: skip
        table.add_row(
            kind,
            f"{statistics.median(ready):.1f}",
            f"{min(ready):.1f}",
            *(f"{size:.0f}" for size in sizes),
        )
    console.print(table)
    lone = Table("a lone request, least ms", *starts)
    kinds = list(starts.values())
    for name in kinds[0][0].lone:
        least = [min(start.lone[name] for start in found) for found in kinds]
        lone.add_row(name, *(f"{1000 * seconds:.0f}" for seconds in least))
    console.print(lone)
    if "before" in starts:
        old, new = starts["before"], starts["later starts"]
        ratio = statistics.median(s.ready for s in old) / statistics.median(s.ready for s in new)
        off = max(
            abs(p - q)
            for name, answer in new[0].answers.items()
            for p, q in zip(answer, old[0].answers[name], strict=True)
        )
        console.print(f"start: {ratio:.1f}× faster; largest difference of an answer: {off:.2e}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"bench-serving-start: {error}") from None
