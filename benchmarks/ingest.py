"""The two passes of RadiographExampleGen: inspecting the images, and writing TFRecords.

`make bench-ingest` runs it. Inspection is timed on one thread and as the component does it;
writing as our stored shards, as TFX's gzip, and beside a plain copy. Then the same images are
inspected and written as PNG, JPEG and DICOM (12 bits with a window, as detectors store them, and
8 bits), each in a process of its own, which also says how much memory a third of the images takes
at most, and all of them; and what the two passes take where the second converts the images again,
since nothing was kept of the first. The files lie in the page cache.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import tensorflow as tf
import typer
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from components.radiograph_example_gen.converted import NOTHING_KEPT, ConvertedImages
from components.radiograph_example_gen.discovery import Candidate
from components.radiograph_example_gen.executor import InspectFn
from components.radiograph_example_gen.inspection import Inspection, inspect_file
from components.radiograph_example_gen.settings import Limits
from components.radiograph_example_gen.writing import Record, make_example, plan_shards, write_shard
from pipeline.phantoms import write_phantoms

_FORMATS: Final = ("PNG", "JPEG", "DICOM 12", "DICOM 8")
_JPEG_QUALITY: Final = 92


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


def _stored(
    images: Path, records: list[Record], out: Path, converted: ConvertedImages = NOTHING_KEPT
) -> None:
    for shard in plan_shards(records, str(out), str(out)):
        if message := write_shard(str(images), shard, converted=converted):
            raise RuntimeError(message)


def _deflated(images: Path, records: list[Record], out: Path) -> None:
    """Write gzip at the level of Beam's WriteToTFRecord for `.gz`, through the same C++ writer."""
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


def _dicom(pixels: NDArray[np.uint8], bits: int) -> bytes:
    """Write an uncompressed DX image; of 12 bits with the window that shows the same."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = DigitalXRayImageStorageForPresentation
    found.SOPInstanceUID = "2.25.1"
    found.Modality = "DX"
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.PixelRepresentation = 0
    found.BitsStored, found.BitsAllocated = bits, 8 if bits == 8 else 16
    found.HighBit = bits - 1
    if bits > 8:
        found.WindowCenter, found.WindowWidth = 2 ** (bits - 1), 2**bits
    deep = pixels if bits == 8 else pixels.astype(np.uint16) << (bits - 8)
    found.PixelData = deep.tobytes()
    found["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


def _encoded(file: Path, form: str) -> tuple[str, bytes]:
    """Return the suffix and the content of a PNG in another format."""
    if form == "PNG":
        return ".png", file.read_bytes()
    pixels = np.asarray(Image.open(file).convert("L"))
    if form == "JPEG":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return ".jpg", buffer.getvalue()
    return ".dcm", _dicom(pixels, int(form.removeprefix("DICOM ")))


@dataclass(frozen=True)
class _Ingested:
    """The cost of both passes over the images of one format.

    Attributes:
        inspected: images a second, the median.
        written: likewise.
        cpu_ms: CPU of both passes, an image, the least; others' work only adds to it.
        again_ms: likewise, where the second pass converts the images once more.
        third: most memory after a third of the images went through both, MB.
        all: after all of them.
    """

    inspected: float
    written: float
    cpu_ms: float
    again_ms: float
    third: float
    all: float


def _ingest(folder: str, names: list[str], *, keep: bool) -> tuple[list[float], list[float]]:
    """Inspect the images and write them.

    Returns:
        Seconds and CPU seconds of either pass.
    """
    elements = [(name, "a") for name in names]
    with tempfile.TemporaryDirectory() as out:
        clocks = [(time.perf_counter(), time.process_time())]
        converted = ConvertedImages.below(out) if keep else NOTHING_KEPT
        inspect = InspectFn(folder, Limits(), bytes(32), converted)
        found = [Inspection.from_json(line) for line in inspect.process(elements)]
        clocks.append((time.perf_counter(), time.process_time()))
        if any(item.reason for item in found):
            raise RuntimeError("a phantom was refused")
        records = [Record(item, 0, item.sha256, {}, {}, {}) for item in found]
        clocks.append((time.perf_counter(), time.process_time()))
        _stored(Path(folder), records, Path(out), converted)
        clocks.append((time.perf_counter(), time.process_time()))
    spent, cpu = zip(*clocks, strict=True)
    return [spent[1] - spent[0], spent[3] - spent[2]], [cpu[1] - cpu[0], cpu[3] - cpu[2]]


def _ingested(folder: str, count: int, rounds: int, sender: Connection) -> None:
    """Send `_Ingested`, of images in a folder."""
    names = sorted(path.name for path in Path(folder).iterdir())
    _ingest(folder, names[: count // 3], keep=True)
    third = _most_memory()
    _ingest(folder, names, keep=True)
    whole = _most_memory()
    ways = {keep: [_ingest(folder, names, keep=keep)] for keep in (True, False)}
    for _ in range(rounds - 1):
        for keep, measured in ways.items():
            measured.append(_ingest(folder, names, keep=keep))
    spent = [seconds for seconds, _ in ways[True]]
    inspected, written = (count / statistics.median(part) for part in zip(*spent, strict=True))
    kept_ms, again_ms = (
        1000 * sum(map(min, zip(*(cpu for _, cpu in ways[keep]), strict=True))) / count
        for keep in (True, False)
    )
    sender.send(_Ingested(inspected, written, kept_ms, again_ms, third, whole))


def _most_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _compare_formats(data: Path, scratch: Path, rounds: int) -> Table:
    table = Table(
        *("format", "inspected/s", "written/s", "CPU of both", "beside PNG"),
        *("converting twice", "memory, a third", "memory, all"),
    )
    files = sorted(data.rglob("*.png"))
    of_png = 0.0
    for form in _FORMATS:
        folder = scratch / form.replace(" ", "")
        folder.mkdir()
        for number, file in enumerate(files):
            suffix, content = _encoded(file, form)
            (folder / f"{number:05d}{suffix}").write_bytes(content)
        # Spawned, so that it begins with its own memory.
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        arguments = (str(folder), len(files), rounds, sender)
        process = context.Process(target=_ingested, args=arguments)
        process.start()
        sender.close()
        found: _Ingested = receiver.recv()
        process.join()
        of_png = of_png or found.cpu_ms
        table.add_row(
            form,
            f"{found.inspected:.0f}",
            f"{found.written:.0f}",
            f"{found.cpu_ms:.1f} ms",
            f"{found.cpu_ms / of_png:.2f}×",
            f"{found.again_ms:.1f} ms",
            f"{found.third:.0f} MB",
            f"{found.all:.0f} MB",
        )
        shutil.rmtree(folder)
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
        formats = _compare_formats(data, scratch, rounds)
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
    Console(width=120).print(formats)


if __name__ == "__main__":
    typer.run(main)
