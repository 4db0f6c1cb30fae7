"""Growing sets of phantoms for the benchmarks, each image drawn once and kept.

Drawing takes longer than most of what is measured, so it is done in blocks that stay in a
folder outside the repository; a set of any size is hard links to the first images of them.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from common.errors import InputError
from pipeline.phantoms import write_phantoms

CACHE_VARIABLE: Final = "CXR_BENCH_DIR"
_DEFAULT_CACHE: Final = Path("output/bench")
_PER_CLASS: Final = 100
_BLOCK: Final = 3 * _PER_CLASS
_METADATA: Final = "metadata.csv"


def cache_folder() -> Path:
    """Return $CXR_BENCH_DIR, else `output/bench`."""
    return Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE)


def phantom_set(cache: Path, count: int, *, size: int = 1024) -> Path:
    """Make a data folder of phantoms, its smaller sets' images among them.

    Args:
        cache: blocks are drawn below it where they are missing; 140 MB for 300 images of
            1024 pixels.
        count: of images, a multiple of 3 is not needed; at least 30.
        size: pixels a side.

    Raises:
        InputError: too few images, or the cache holds something else.
    """
    if count < 30:
        raise InputError(f"counts: {count} images are too few to split; use 30 or more.")
    folder = cache / f"set-{size}-{count}"
    if (folder / _METADATA).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    for index in range(-(-count // _BLOCK)):
        block = write_phantoms(
            cache / f"block-{size}-{index:04d}", [_PER_CLASS] * 3, size=size, seed=index
        )
        wanted = min(_BLOCK, count - index * _BLOCK)
        rows += [_linked(block, folder, index, row) for row in _first(block, wanted)]
    # Written last: it says that the set is whole.
    with (folder / _METADATA).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def _first(block: Path, count: int) -> Iterator[dict[str, str]]:
    """Return the rows of `count` images, as many of each class as the others."""
    with (block / _METADATA).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_turns = [row for n in range(_PER_CLASS) for row in rows[n::_PER_CLASS]]
    yield from by_turns[:count]


def _linked(block: Path, folder: Path, index: int, row: Mapping[str, str]) -> dict[str, str]:
    """Return the image's row in the set, after linking it there."""
    source = Path(row["file"])
    target = source.with_name(f"{index:04d}-{source.name}")
    (folder / target.parent).mkdir(exist_ok=True)
    # No symbolic link: ExampleGen doesn't follow those that leave the data folder.
    os.link(block / source, folder / target)
    # Blocks number their patients alike; they are not the same.
    patient = f"{row['patient_id']}-{index:04d}"
    return {**row, "file": target.as_posix(), "patient_id": patient}
