"""The two passes of RadiographExampleGen: inspecting the images, and writing TFRecords.

`make bench-ingest` runs it. Inspection is timed on one thread and as the component does it;
writing as our stored shards, as TFX's gzip, and beside a plain copy. The files lie in the
page cache.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from components.radiograph_example_gen.discovery import Candidate
from components.radiograph_example_gen.executor import InspectFn
from components.radiograph_example_gen.inspection import Inspection, inspect_file
from components.radiograph_example_gen.settings import Limits
from components.radiograph_example_gen.writing import Record, make_example, plan_shards, write_shard
from pipeline.phantoms import write_phantoms


def _records(folder: Path) -> list[Record]:
    records = []
    for file in sorted(folder.rglob("*.png")):
        content = file.read_bytes()
        inspection = Inspection(
            path=str(file.relative_to(folder)),
            class_name=file.parent.name,
            sha256=hashlib.sha256(content).hexdigest(),
            width=0,
            height=0,
            size=len(content),
            mean=0.0,
            std=0.0,
            entropy=0.0,
        )
        records.append(Record(inspection, 0, inspection.sha256, {}, {}, {}))
    return records


def _stored(images: Path, records: list[Record], out: Path) -> None:
    for shard in plan_shards(records, str(out), str(out)):
        if message := write_shard(str(images), shard):
            raise RuntimeError(message)


def _deflated(images: Path, records: list[Record], out: Path) -> None:
    """The level that Beam's WriteToTFRecord uses for `.gz`, through the same C++ writer."""
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=6)
    with tf.io.TFRecordWriter(str(out / "data.gz"), options=options) as writer:
        for record in records:
            content = (images / record.inspection.path).read_bytes()
            writer.write(make_example(record, content).SerializeToString(deterministic=True))


def _copied(images: Path, records: list[Record], out: Path) -> None:
    for record in records:
        shutil.copyfile(images / record.inspection.path, out / record.inspection.sha256)


def _seconds(
    write: Callable[[Path, list[Record], Path], None],
    images: Path,
    records: list[Record],
    scratch: Path,
) -> tuple[float, int]:
    out = scratch / "out"
    out.mkdir()
    started = time.perf_counter()
    write(images, records, out)
    spent = time.perf_counter() - started
    stored = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    shutil.rmtree(out)
    return spent, stored


def _inspect_on_one_thread(images: Path, candidates: list[Candidate]) -> int:
    return sum(not inspect_file(str(images), c, Limits()).reason for c in candidates)


def _inspect_as_the_component(images: Path, candidates: list[Candidate]) -> int:
    inspect = InspectFn(str(images), Limits())
    return sum(1 for _ in inspect.process([(c.path, c.class_name) for c in candidates]))


def _compare_inspections(images: Path, records: list[Record], rounds: int) -> Table:
    candidates = [Candidate(r.inspection.path, r.inspection.class_name) for r in records]
    ways = {"one thread": _inspect_on_one_thread, "ours": _inspect_as_the_component}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, inspect in ways.items():
            started = time.perf_counter()
            if inspect(images, candidates) != len(candidates):
                raise RuntimeError("a phantom was refused")
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table("inspecting", "images/s", "time beside ours")
    for name, spent in medians.items():
        table.add_row(name, f"{len(records) / spent:.0f}", f"{spent / medians['ours']:.2f}×")
    return table


def main(
    images: Annotated[int, typer.Option(help="Phantoms to write.")] = 90,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 1024,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are shown.")] = 5,
) -> None:
    """Time the three ways in turn, round by round."""
    ways = {"plain copy": _copied, "stored (ours)": _stored, "gzip 6 (TFX's)": _deflated}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = write_phantoms(scratch / "data", [images // 3] * 3, size=size)
        records = _records(data)
        total = sum(record.inspection.size for record in records)
        inspections = _compare_inspections(data, records, rounds)
        times: dict[str, list[float]] = {name: [] for name in ways}
        stored: dict[str, int] = {}
        for _ in range(rounds):
            for name, write in ways.items():
                spent, stored[name] = _seconds(write, data, records, scratch)
                times[name].append(spent)
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table("writing", "images/s", "MB/s", "size", "time beside ours")
    for name, spent in medians.items():
        table.add_row(
            name,
            f"{len(records) / spent:.0f}",
            f"{total / spent / 1e6:.0f}",
            f"{stored[name] / total:.3f}",
            f"{spent / medians['stored (ours)']:.2f}×",
        )
    Console(width=100).print(f"{len(records)} phantoms of {size} pixels, {total / 1e6:.0f} MB")
    Console(width=100).print(inspections)
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
