"""Images a second through each backbone's frozen part, by engine, beside OpenVINO's own tool.

`make bench-featurizer` runs it. All take the same network and images of 256 pixels, decoded
before; `benchmark_app` is OpenVINO's and takes the converted network, on the same cores.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from common.runtime import prepare_environment

prepare_environment()

import keras  # noqa: E402

from models.backbones import (  # noqa: E402
    BACKBONES,
    BOUNDARY_HEAD,
    build_network,
    get_backbone,
    load_weights,
)
from models.boundary import FrozenPart, freeze  # noqa: E402
from models.engines import (  # noqa: E402
    OPENVINO_BF16,
    OPENVINO_F32,
    PRECISIONS,
    Engine,
    EngineName,
    OpenVinoEngine,
    TensorFlowEngine,
    converted,
)
from models.openvino_runtime import has_bf16, import_openvino  # noqa: E402
from models.preprocessing import decode_and_resize  # noqa: E402
from models.weights import find_weights  # noqa: E402
from pipeline.phantoms import write_phantoms  # noqa: E402

# As Featurizer decodes and hands them on.
_BATCH: Final = 8
# As `models.openvino_runtime.import_openvino`, in a process of its own.
_BENCHMARK_APP: Final = (
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from openvino.tools.benchmark.main import main; main()"
)
_THROUGHPUT: Final = re.compile(r"Throughput:\s+([\d.]+) FPS")

Speed = Callable[[], float]


def _images(data: Path | None, count: int, scratch: Path) -> np.ndarray:
    """Read or draw images, uint8 [count, 256, 256, 1], from the folder or phantoms."""
    each = -(-count // 3)
    folder = data or write_phantoms(scratch / "phantoms", [each] * 3, size=256)
    files = sorted(folder.rglob("*.png"))
    if len(files) < count:
        raise typer.BadParameter(f"{folder} holds {len(files)} PNGs; {count} are asked for")
    # From every class: the files are sorted by it.
    chosen = [files[i * len(files) // count] for i in range(count)]
    return np.stack([decode_and_resize(file.read_bytes()).numpy() for file in chosen])


def _frozen(name: str, weights_dir: Path | None) -> tuple[FrozenPart, str]:
    """Choose what Featurizer runs by default, and whose weights it has."""
    row = get_backbone(name)
    network = build_network(row)
    source = find_weights(row, weights_dir) if weights_dir else None
    if source and source.path:
        load_weights(network, str(source.path))
    label = source.label if source else "random"
    return freeze(network, row, [BOUNDARY_HEAD], row.head_taps), label


def _ours(engine: Engine, images: np.ndarray) -> Speed:
    def speed() -> float:
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        started = time.perf_counter()
        done = sum(len(next(iter(features.values()))) for features in engine.stream(batches))
        return done / (time.perf_counter() - started)

    return speed


def _theirs(model: Path, precision: str, seconds: int) -> Speed:
    options = ["-m", str(model), "-d", "CPU", "-hint", "throughput", "-t", str(seconds)]
    command = [sys.executable, "-c", _BENCHMARK_APP, *options, "-infer_precision", precision]

    def speed() -> float:
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found = _THROUGHPUT.search(run.stdout)
        if not found:
            raise RuntimeError(f"benchmark_app told no throughput:\n{run.stdout}")
        return float(found[1])

    return speed


def _ways(
    frozen: FrozenPart, images: np.ndarray, seconds: int, scratch: Path
) -> Iterator[tuple[str, Speed]]:
    network = frozen.prefix
    yield "tensorflow", _ours(TensorFlowEngine(network), images)
    file = scratch / f"{network.name}.xml"
    import_openvino().save_model(converted(network), file, compress_to_fp16=False)
    engines: list[EngineName] = [OPENVINO_F32, *([OPENVINO_BF16] if has_bf16() else [])]
    for name in engines:
        yield name, _ours(OpenVinoEngine(converted(network), frozen.features, name), images)
        yield f"app {name}", _theirs(file, PRECISIONS[name], seconds)


def _medians(ways: dict[str, Speed], rounds: int) -> dict[str, float]:
    """Compute medians of rounds in which each way comes once, after one round for warming up."""
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, speed in ways.items():
            found = speed()
            if number:
                speeds[way].append(found)
    return {way: statistics.median(values) for way, values in speeds.items()}


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of PNGs; phantoms without.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="Random weights without.")] = None,
    backbones: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(BACKBONES),
    images: Annotated[int, typer.Option(help="Images a round.")] = 48,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are shown.")] = 5,
    seconds: Annotated[int, typer.Option(help="Of benchmark_app, a round.")] = 5,
) -> None:
    """Time the engines in turn, round by round."""
    table = Table("backbone", "weights", "engine", "images/s", "beside TF", "of benchmark_app")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pixels = _images(data, images, scratch)
        for name in backbones.split(","):
            frozen, weights = _frozen(name, weights_dir)
            speeds = _medians(dict(_ways(frozen, pixels, seconds, scratch)), rounds)
            for way in (way for way in speeds if not way.startswith("app ")):
                app = speeds.get(f"app {way}")
                table.add_row(
                    *(name, weights, way, f"{speeds[way]:.1f}"),
                    f"{speeds[way] / speeds['tensorflow']:.2f}×",
                    f"{speeds[way] / app:.0%} of {app:.1f}" if app else "",
                )
            keras.backend.clear_session()
    Console(width=120).print(f"{images} images of 256 pixels, median of {rounds} rounds")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
