"""A folder of phantoms with metadata, laid out like the data set it stands in for."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, PngImagePlugin

from common.errors import InputError
from pipeline.phantoms.render import (
    CLASSES,
    RECORD_STREAM,
    VIEW_STREAM,
    check_natural,
    check_size,
    patient_of,
    phantom,
    stream,
)

COMMENT: Final = "Synthetic phantom, not medical data (cxr-tfx)"
ARGUMENTS_FILE: Final = "phantoms.json"
METADATA_FILE: Final = "metadata.csv"
README_FILE: Final = "README.txt"
COLUMNS: Final = ("file", "label", "patient_id", "sex", "age", "age_group", "view", "source")
VIEWS: Final = ("PA", "AP", "AP Supine")
VIEW_SHARES: Final = (0.55, 0.30, 0.15)
ADULT_AGE: Final = 18

# Raise when the drawing changes, so that an old folder is not taken for a new one.
_VERSION: Final = 1
# Fixed, because the level decides the bytes; 6 saves little more of a noisy image.
_COMPRESS_LEVEL: Final = 4
_PARALLEL_FROM: Final = 100  # images; below, starting processes costs more than it saves

_README: Final = """\
Synthetic phantoms, not medical data (cxr-tfx)

These images are drawn by a formula (pipeline/phantoms). They show no person, come
from no patient and no radiograph, and the patients, sexes, ages and views in
metadata.csv are random numbers drawn without regard to the class. They exist so that
the pipeline can be run and tested without medical data. A model trained on them, and
any figure measured on them, says nothing about real chest X-rays.

phantoms.json holds the arguments that make the same files again.
"""


@dataclass(frozen=True)
class _Job:
    """One image to write: picklable, for the worker processes."""

    path: Path
    class_name: str
    size: int
    seed: int
    index: int


def write_phantoms(
    out: Path,
    per_class: Sequence[int],
    *,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Write a set of phantoms to the folder `out` and return it.

    The same arguments give the same bytes (with the same NumPy and Pillow, and the same
    kind of CPU), and image i of a class does not depend on how many there are. Where
    `out` already holds the set, nothing is written. The folder appears whole or not at
    all.

    Above 100 images the work is shared by processes that are spawned, not forked, as a
    fork of a process with TensorFlow's threads can hang; a script that calls this
    therefore needs the usual `if __name__ == "__main__"`.

    Args:
        out: the folder; may exist if it is empty or holds this very set.
        per_class: numbers of images, in the order of `CLASSES`, each 1 or more.
        size: pixels a side, 64 to 8192.
        seed: 0 or more.
        workers: processes; by default one a CPU.

    Raises:
        InputError: an argument is out of its range, or `out` holds something else.
    """
    counts = _check_counts(per_class)
    check_size(size)
    check_natural("seed", seed)
    if workers is not None:
        check_natural("workers", workers)
        if workers < 1:
            raise InputError("phantom workers is 0; use 1 or more")
    arguments = {
        "version": _VERSION,
        "per_class": dict(zip(CLASSES, counts, strict=True)),
        "size": int(size),
        "seed": int(seed),
    }
    out = Path(out)
    if _holds(out, arguments):
        return out
    target = out.resolve()  # a rename replaces an empty folder, but not a link to one
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, because a rename across file systems is not one step.
        with tempfile.TemporaryDirectory(prefix=".phantoms-", dir=target.parent) as scratch:
            staged = Path(scratch) / "set"
            staged.mkdir()
            _fill(staged, arguments, workers)
            staged.rename(target)
    except OSError as error:
        # Another process may have put the same set there meanwhile.
        if _holds(out, arguments):
            return out
        raise InputError(
            f"phantoms cannot be put at {out}: {error}; "
            "name a folder that does not exist yet, in one that can be written"
        ) from error
    return out


def _check_counts(per_class: Sequence[int]) -> tuple[int, ...]:
    if len(per_class) != len(CLASSES):
        raise InputError(
            f"phantom counts are {list(per_class)}; give {len(CLASSES)}, for {', '.join(CLASSES)}"
        )
    for name, count in zip(CLASSES, per_class, strict=True):
        check_natural(f"count for {name}", count)
        if count < 1:
            raise InputError(f"phantom count for {name} is {count}; use 1 or more")
    return tuple(int(count) for count in per_class)


def _holds(out: Path, arguments: dict[str, Any]) -> bool:
    """Tell whether `out` is this very set; InputError where it is anything but free."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise InputError(f"{out} is not a folder; name another for the phantoms")
    if not any(out.iterdir()):
        return False
    try:
        recorded = json.loads((out / ARGUMENTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = None
    if not isinstance(recorded, dict):
        raise InputError(f"{out} is not empty and holds no phantoms; name another folder")
    if recorded.get("arguments") != arguments:
        raise InputError(
            f"{out} holds phantoms made with other arguments, {recorded.get('arguments')}; "
            "name another folder or remove this one"
        )
    # A stat a file and no reading: quick, and enough to notice a set that was cut,
    # added to or edited.
    if recorded.get("files") != _listing(out):
        raise InputError(
            f"the phantoms in {out} were changed since they were written; "
            "name another folder or remove this one"
        )
    return True


def _listing(folder: Path) -> str:
    """Return a digest of the names and sizes of all below `folder` but the arguments file."""
    lines = sorted(
        f"{path.relative_to(folder).as_posix()}\t{path.stat().st_size if path.is_file() else '-'}"
        for path in folder.rglob("*")
        if path != folder / ARGUMENTS_FILE
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _fill(folder: Path, arguments: dict[str, Any], workers: int | None) -> None:
    """Write the whole set into the empty `folder`."""
    seed = arguments["seed"]
    jobs = [
        _Job(folder / name / f"{name} ({index + 1}).png", name, arguments["size"], seed, index)
        for name, count in arguments["per_class"].items()
        for index in range(count)
    ]
    for name in CLASSES:
        (folder / name).mkdir()
    _run(jobs, workers)
    records = (_record(job, job.path.relative_to(folder).as_posix()) for job in jobs)
    (folder / METADATA_FILE).write_bytes(_table(records))
    (folder / README_FILE).write_bytes(_README.encode())
    text = json.dumps({"arguments": arguments, "files": _listing(folder)}, indent=1) + "\n"
    (folder / ARGUMENTS_FILE).write_bytes(text.encode())


def _run(jobs: list[_Job], workers: int | None) -> None:
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    if processes == 1 or len(jobs) <= _PARALLEL_FROM:
        for job in jobs:
            _write(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for _ in pool.map(_write, jobs, chunksize=8):
            pass


def _write(job: _Job) -> None:
    """Draw one phantom and write it as a labelled 8-bit grey PNG."""
    grey = phantom(job.class_name, size=job.size, seed=job.seed, index=job.index)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", COMMENT)
    Image.fromarray(grey).save(job.path, format="PNG", compress_level=_COMPRESS_LEVEL, pnginfo=info)


def _record(job: _Job, file: str) -> dict[str, str]:
    """Return the row of metadata.csv of one image; an empty cell is an unknown value."""
    patient = patient_of(job.class_name, job.index, seed=job.seed)
    class_index = CLASSES.index(job.class_name)
    # Same distributions whatever the class: only the stream differs.
    person = stream(job.seed, class_index, patient, RECORD_STREAM)
    sex = str(person.choice(("F", "M")))
    age = int(person.integers(1, ADULT_AGE) if person.random() < 0.3 else person.integers(18, 91))
    group = "child" if age < ADULT_AGE else "adult"
    known = person.random(3) > (0.10, 0.15, 0.08)
    visit = stream(job.seed, class_index, job.index, VIEW_STREAM)
    view = str(visit.choice(VIEWS, p=VIEW_SHARES))
    return {
        "file": file,
        "label": job.class_name,
        # Never unknown: a split by patient has to keep a patient's images together.
        "patient_id": f"phantom-{class_index}-{patient + 1:05d}",
        "sex": sex if known[0] else "",
        "age": str(age) if known[1] else "",
        "age_group": group if known[2] else "",
        "view": view if visit.random() > 0.10 else "",
        "source": "phantom",
    }


def _table(records: Iterable[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()
