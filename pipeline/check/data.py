"""`cxr check`: what a run would read of a data folder, and what stands in its way. No TFX.

The rules are RadiographExampleGen's own: the same functions list, match, inspect and sift.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from common.errors import InputError
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.likeness import FLAT
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.remarks import IMAGES, Remark, some_of
from components.radiograph_example_gen.selection import (
    Decision,
    Folder,
    Usable,
    decide,
    inspect,
    look,
    remarks_on,
    sift,
    summarize,
    with_headers,
)
from components.radiograph_example_gen.settings import Settings
from pipeline.check.images import settings_of
from pipeline.check.schema import values_the_schema_refuses
from pipeline.config.pipeline_config import PipelineConfig, check_inputs
from pipeline.resolve.columns import resolve_columns
from pipeline.resolve.spans import resolve_spans
from schema import contract

# Grey levels: below such a mean there is next to nothing to see.
_NEARLY_BLACK: Final = 5.0
# A longer side is so many times the shorter one; a side is so many times the usual one, or less.
_ODD_RATIO: Final = 2.0
_ODD_SIDE: Final = 4.0
# Fewer images with one value and one class are chance.
_ENOUGH: Final = 10
_SHOWN: Final = 5
_LISTED: Final = 1000
_VALUES_SHOWN: Final = 20


def check_data(config: PipelineConfig) -> dict[str, Any]:
    """Look at a data folder as RadiographExampleGen would.

    Args:
        config: its `data`.

    Returns:
        What JSON can hold: `problems`, sentences that would stop a run; `remarks`, each `topic` and
        `sentence`; `classes` (name -> `found`, `usable`); `split` (split -> class -> images), its
        `digest` and `deviations`, as a run would make it with the same seed; `left_out` (kind ->
        count); `files` (the first 1,000 that are left out: `path`, `kind`, `reason`); `patients`
        (`known`, `images_without`); `sizes` and `bit_depths` (-> images). After a problem that
        hides the rest, what could be found out before it.

    Raises:
        InputError: the configuration itself is wrong.
    """
    check_inputs(config)
    if config.data.in_spans:
        raise InputError("data.dir: check one span's folder at a time, without {SPAN}.")
    found: dict[str, Any] = {"problems": [], "remarks": []}
    try:
        config = resolve_columns(config, resolve_spans(config.data))
        settings = replace(settings_of(config), columns=tuple(config.data.slice_columns or ()))
        folder = look(settings)
        found["classes"] = {name: {"found": count} for name, count in folder.found.found.items()}
        inspections = inspect(settings, folder)
        found |= _of_images(inspections)
        # Where the images can't be sifted, those that can be opened are spoken of.
        whole = with_headers(settings, folder, inspections)
        read = [item for item in inspections if not item.reason]
        found["remarks"] = _remarks(settings, whole, read)
        usable = sift(settings, whole, inspections)
        used = sorted((i.inspection for i in usable.cleaned.images), key=lambda item: item.path)
        found["remarks"] = _remarks(settings, whole, used)
        found |= _of_files(usable, found["classes"])
        decision = decide(settings, usable)
        summary = summarize(settings, decision)
        found["problems"] += _of_schema(decision, config)
    except InputError as error:
        found["problems"].append(str(error))
        return found
    found["split"] = {
        split: {name: counts[split] for name, counts in summary.split_counts.items()}
        for split in contract.SPLITS
    }
    found["digest"] = summary.digest
    found["deviations"] = list(summary.deviations)
    return found


def _of_schema(decision: Decision, config: PipelineConfig) -> list[str]:
    images = (image for split in contract.SPLITS for image in decision.chosen(split))
    rows = [image.row for image in images if image.row]
    return list(values_the_schema_refuses(rows, config.schema_dir, config.data.table))


def _of_files(usable: Usable, classes: Mapping[str, dict[str, int]]) -> dict[str, Any]:
    counts = Counter(image.inspection.class_name for image in usable.cleaned.images)
    people = {patient for image in usable.cleaned.images for patient in image.patients}
    return {
        "classes": {name: {**row, "usable": counts[name]} for name, row in classes.items()},
        "left_out": dict(sorted(Counter(i.kind.value for i in usable.left_out).items())),
        "files": [
            {"path": item.path, "kind": item.kind.value, "reason": item.reason}
            for item in heapq.nsmallest(_LISTED, usable.left_out)
        ],
        "patients": {
            "known": len(people),
            "images_without": sum(not image.patients for image in usable.cleaned.images),
        },
    }


def _of_images(inspections: Sequence[Inspection]) -> dict[str, Any]:
    read = [item for item in inspections if item.width]
    sizes = Counter(f"{item.width}×{item.height}" for item in read)
    return {
        "sizes": dict(sizes.most_common(_SHOWN)),
        "bit_depths": dict(sorted(Counter(str(item.bit_depth) for item in read).items())),
    }


def _remarks(
    settings: Settings, folder: Folder, images: Sequence[Inspection]
) -> list[dict[str, str]]:
    by_path = folder.matched.by_path
    good = [(image, by_path.get(image.path)) for image in images]
    return [asdict(remark) for remark in _said(settings, folder, good)]


def _said(
    settings: Settings, folder: Folder, good: Sequence[tuple[Inspection, Row | None]]
) -> Iterator[Remark]:
    yield from remarks_on(good, folder.found, folder.matched.remarks, settings.table)
    yield from _of_looks([image for image, _ in good])
    values = list(_of_values(good))
    yield from values[:_VALUES_SHOWN]
    if more := len(values[_VALUES_SHOWN:]):
        yield Remark("values", f"{more} more values have images of one class alone")


def _of_looks(images: Sequence[Inspection]) -> Iterator[Remark]:
    dark = [item.path for item in images if item.mean < _NEARLY_BLACK]
    if dark:
        yield Remark(IMAGES, f"{_several(dark)} nearly black: do they show anything?")
    flat = [item.path for item in images if item.std < FLAT and item.mean >= _NEARLY_BLACK]
    if flat:
        yield Remark(IMAGES, f"{_several(flat)} of one grey level: do they show anything?")
    if not images:
        return
    usual = sorted(max(item.width, item.height) for item in images)[len(images) // 2]
    odd = [
        item.path
        for item in images
        if max(item.width, item.height) > _ODD_RATIO * min(item.width, item.height)
        or not usual / _ODD_SIDE <= max(item.width, item.height) <= usual * _ODD_SIDE
    ]
    if odd:
        yield Remark(IMAGES, f"{_several(odd)} of an odd size or shape: are they radiographs?")


def _several(paths: Sequence[str]) -> str:
    shown = some_of(map(repr, paths), _SHOWN)
    return f"{len(paths)} {'image is' if len(paths) == 1 else 'images are'} ({shown})"


def _of_values(images: Iterable[tuple[Inspection, Row | None]]) -> Iterator[Remark]:
    """Name values of a column that only one class has: a model could tell the class by them."""
    classes: Mapping[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for item, row in images:
        for column, value in {**row.text, **row.further}.items() if row else ():
            if column != "patient_id":
                classes[column, value][item.class_name] += 1
    columns = Counter(column for column, _ in classes)
    for (column, value), counts in sorted(classes.items()):
        if len(counts) == 1 and columns[column] > 1 and (count := counts.total()) >= _ENOUGH:
            (name,) = counts
            yield Remark(
                "values",
                f"all {count} images with {column} {value!r} are {name}: a model may learn the "
                f"{column} instead of the illness",
            )
