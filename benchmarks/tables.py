"""Memory of a large table: read alone, in RadiographExampleGen, and in Transform.

`make bench-tables` runs it. Each measurement has a process of its own, since a process never tells
how much it would have needed less. Linux only: peaks are read from /proc. What grows is told as
bytes for each further row or record.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.measured_run import Spent, Wanted, measure
from components.radiograph_example_gen.metadata import parse_metadata
from schema.table import RAW_PREFIX, TableColumn

_EXAMPLE_GEN: Final = "RadiographExampleGen"
# All that Transform waits for.
_BEFORE_TRANSFORM: Final = "SchemaGate"
_TRANSFORM: Final = "Transform"
_FOLDERS: Final = ("COVID", "Normal", "Viral Pneumonia")
_NUMBERS: Final = 8
_SIDE: Final = 32  # pixels: the least that is taken
_WORDS: Final = 500
# Images that `alone` draws; its records are of them in turn.
_DRAWN: Final = 300
_STATUS: Final = Path("/proc/self/status")
_MIB: Final = 1 << 20


def main(
    reading: Annotated[str, typer.Option(help="Rows, read alone.")] = "100000,1000000",
    rows: Annotated[str, typer.Option(help="Rows in RadiographExampleGen.")] = "10000,1000000",
    images: Annotated[int, typer.Option(help="Images that some of these rows are of.")] = 3000,
    records: Annotated[str, typer.Option(help="Records in Transform.")] = "1000,4000,16000",
    alone: Annotated[
        str,
        typer.Option(
            help=f"Records in Transform, of {_DRAWN} images without noise; columns differ in each."
        ),
    ] = "",
) -> None:
    """Measure all, and print a table of each; no counts leave one out."""
    console = Console(width=110)
    if counts := _counts(reading):
        console.print("A table read alone", _of_reading(counts))
    if counts := _counts(rows):
        what = f"{_EXAMPLE_GEN}: rows of a table, {images} of them with an image"
        console.print(
            what, _of_node(counts, lambda folder, count: _example_gen(folder, images, count))
        )
    if counts := _counts(records):
        what = f"{_TRANSFORM}: records of {_SIDE} pixels a side with {_NUMBERS + 2} columns"
        console.print(what, _of_node(counts, _transform))
    if counts := _counts(alone):
        what = f"{_TRANSFORM}: records of {_DRAWN} images, with {_NUMBERS + 2} columns of their own"
        console.print(what, _of_node(counts, _transform_alone))


def _counts(text: str) -> list[int]:
    return [int(count) for count in text.split(",") if count]


def _of_reading(counts: Sequence[int]) -> Table:
    table = Table(
        *("rows", "file, MB", "s", "s to read all again", "peak beside the file, MiB"),
        "kept, bytes a row",
    )
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            table.add_row(str(count), *fresh.submit(_read, count).result())
    return table


def _of_node(counts: Sequence[int], measured: Callable[[Path, int], Spent]) -> Table:
    table = Table("count", "s", "MiB before the node", "peak, MiB", "bytes for each more")
    before: tuple[int, int] | None = None
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            spent = measured(Path(folder), count)
        grown = ""
        if before:
            grown = f"{(spent.peak_mib - before[1]) * _MIB / (count - before[0]):.0f}"
        cells = (spent.start_mib, spent.peak_mib, grown)
        # Each takes minutes: what is known stays, where the next is stopped.
        typer.echo(f"{count}: {spent}", err=True)
        table.add_row(str(count), f"{spent.seconds:.0f}", *map(str, cells))
        before = count, spent.peak_mib
    return table


def _example_gen(folder: Path, images: int, rows: int) -> Spent:
    _write(folder / "data", images, rows)
    return measure(_wanted(folder, _EXAMPLE_GEN))[_EXAMPLE_GEN]


def _transform(folder: Path, records: int) -> Spent:
    _write(folder / "data", records, records)
    return _measured_transform(folder)


def _transform_alone(folder: Path, records: int) -> Spent:
    """Let Transform have more records than images, since a million of those take hours."""
    _write(folder / "data", _DRAWN, _DRAWN, noise=False)
    return _measured_transform(folder, records / _DRAWN)


def _measured_transform(folder: Path, times: float | None = None) -> Spent:
    """Run what is before Transform, write its records so many times, and run Transform."""
    wanted = _wanted(folder, _BEFORE_TRANSFORM)
    measure(wanted)
    if times is not None:
        (examples,) = wanted.output.glob(f"**/{_EXAMPLE_GEN}/examples/*")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            fresh.submit(_repeat, examples, times).result()
    # In another process, in which the nodes before it come from the cache.
    return measure(dataclasses.replace(wanted, to_node=_TRANSFORM))[_TRANSFORM]


def _repeat(examples: Path, times: float) -> None:
    """Write an artifact's records so many times, each with columns of its own, over them."""
    import tensorflow as tf

    drawn = random.Random(1)
    options = tf.io.TFRecordOptions("GZIP", compression_level=1)
    for path in sorted(examples.glob("Split-*/*.gz")):
        parsed = [
            tf.train.Example.FromString(record)
            for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
        ]
        with tf.io.TFRecordWriter(str(path), options) as writer:
            for number in range(round(len(parsed) * times)):
                example = parsed[number % len(parsed)]
                _draw_columns(example.features.feature, drawn)
                writer.write(example.SerializeToString())


def _draw_columns(of_example: Any, drawn: random.Random) -> None:
    """Put other values into the columns that an example has."""
    for name, feature in of_example.items():
        if not name.startswith(RAW_PREFIX):
            continue
        if feature.HasField("float_list"):
            feature.float_list.value[:] = [drawn.random() * 500 for _ in feature.float_list.value]
        elif name == f"{RAW_PREFIX}notes":
            feature.bytes_list.value[:] = [_words(drawn).encode()]


def _words(drawn: random.Random) -> str:
    return " ".join(f"word{drawn.randrange(_WORDS)}" for _ in range(4))


def _wanted(folder: Path, to_node: str) -> Wanted:
    features: dict[str, Any] = {
        f"v{n}": {"kind": "numeric", "unit": "mg/l", "high": 600} for n in range(_NUMBERS)
    }
    features["smoker"] = {"kind": "categorical", "values": 3}
    features["notes"] = {"kind": "text"}
    output = folder / "out"
    output.mkdir(exist_ok=True)
    of_data = {"features": features, "max_unmatched_fraction": 1.0}
    return Wanted(folder / "data", output, to_node, of_data=of_data)


def _write(folder: Path, images: int, rows: int, noise: bool = True) -> None:
    """Write images in three class folders, of noise or of a ramp, and a table of their rows."""
    drawn = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(_SIDE), np.arange(_SIDE))
    paths = []
    for index in range(images):
        path = folder / _FOLDERS[index % len(_FOLDERS)] / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = (
            drawn.integers(0, 256, (_SIDE, _SIDE))
            if noise
            else ramp * (1 + index // 60 / 2) + index % 60
        )
        Image.fromarray(grey.astype(np.uint8)).save(path)
        paths.append(path.relative_to(folder).as_posix())
    with (folder / "metadata.csv").open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _lines(rows, paths, rows // images))


def _read(count: int) -> tuple[str, ...]:
    content = "\n".join(_lines(count)).encode()
    columns = [TableColumn(f"v{n}", f"v{n}", "numeric", high=600) for n in range(_NUMBERS)]
    columns += [
        TableColumn("smoker", "smoker", "categorical"),
        TableColumn("notes", "notes", "text"),
    ]
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
    figures = (len(content) / 1e6, seconds, again, peak / 1024, kept * 1024 / count)
    return tuple(f"{figure:.0f}" for figure in figures)


def _lines(rows: int, paths: Sequence[str] = (), every: int = 1) -> Iterator[str]:
    """Draw a table's lines; the first of each `every` is of an image, while there are some."""
    drawn = random.Random(0)
    names = ",".join(f"v{n}" for n in range(_NUMBERS))
    yield f"file,patient_id,sex,age,view,{names},smoker,notes"
    for row in range(rows):
        image, other = divmod(row, every)
        of_image = not other and image < len(paths)
        file = paths[image] if of_image else f"img/{row:08d}.png"
        numbers = ["" if drawn.random() < 0.3 else f"{drawn.random() * 500:.1f}" for _ in range(8)]
        words = _words(drawn)
        known = f"{file},p{row // 3:07d},{'FM'[row % 2]},{row % 90},PA"
        yield ",".join([known, *numbers, drawn.choice(("no", "yes", "")), words])


def _status(field: str) -> int:
    """Read a field of the process's status, in KiB."""
    return int(_STATUS.read_text(encoding="ascii").partition(f"{field}:")[2].split()[0])


if __name__ == "__main__":
    typer.run(main)
