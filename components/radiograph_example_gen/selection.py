"""The way from the data folder to the split of each image. No Beam, no TFX.

The node looks, inspects the images and decides; a study over many seeds looks and inspects
once, and decides once a seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from absl import logging

from components.radiograph_example_gen.cleaning import (
    Cleaned,
    CleanImage,
    check_bad_fraction,
    clean,
)
from components.radiograph_example_gen.discovery import Candidate, Discovery, Kind, LeftOut
from components.radiograph_example_gen.informing import informed
from components.radiograph_example_gen.inspection import Inspection, inspect_file
from components.radiograph_example_gen.likeness import of_copies, of_ids
from components.radiograph_example_gen.listed import joined
from components.radiograph_example_gen.listing import list_folder, match
from components.radiograph_example_gen.manifest import Entry, Summary, digest, rendering_to_note
from components.radiograph_example_gen.matching import Matched
from components.radiograph_example_gen.metadata import SOURCE_COLUMN, Row
from components.radiograph_example_gen.remarks import (
    COLUMNS,
    Remark,
    of_ages,
    of_classes,
    of_files,
    of_folders,
    of_names,
    of_patients,
    of_unread_folders,
)
from components.radiograph_example_gen.salt import salt_for
from components.radiograph_example_gen.settings import Settings, SpanFolder
from components.radiograph_example_gen.span_selection import Merged, merge_spans, split_result
from components.radiograph_example_gen.span_split import Kept
from components.radiograph_example_gen.split import (
    UNUSED,
    SplitImage,
    SplitResult,
    first_of_group,
    rank_of,
    shared_between_splits,
    split_images,
)
from components.radiograph_example_gen.table_cells import sentences_on
from schema import contract
from schema.table import TableColumn


@dataclass(frozen=True)
class Folder:
    """The facts that are known before any image is opened.

    Attributes:
        found: the images' names.
        metadata: content of the metadata table; None where there is none.
        matched: its rows, by image.
    """

    found: Discovery
    metadata: bytes | None
    matched: Matched


@dataclass(frozen=True)
class Usable:
    """The images that any split may use; the same for every seed.

    Attributes:
        found: the images' names.
        cleaned: what is usable; where there are spans, `decide` puts it together.
        left_out: what is not.
        by_span: what is usable of each span, by itself.
        remarks: on the tables.
    """

    found: Discovery
    cleaned: Cleaned
    left_out: Collection[LeftOut]
    by_span: tuple[tuple[SpanFolder, Cleaned], ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Decision:
    """All that is known before anything is written.

    Attributes:
        usable: the images there were to choose from.
        split: which of them is where.
        left_out: what is not used, down-sampled images included.
        seed: of the split.
        merged: all spans; None where there are none.
    """

    usable: Usable
    split: SplitResult
    left_out: Collection[LeftOut]
    seed: int
    merged: Merged | None = None

    @cached_property
    def groups(self) -> dict[str, str]:
        """Digest of each usable image -> what it shares with all that must stay with it.

        It is `contract.GROUP`, and the same whatever the seed is.
        """
        if self.merged:
            return first_of_group(self.merged.split.groups)
        images = self.usable.cleaned.images
        return first_of_group({image.inspection.sha256: image.group for image in images})

    def chosen(self, split: str) -> list[CleanImage]:
        """List the images of a split in their seeded order."""
        assignment = self.split.assignment
        members = [
            image
            for image in self.usable.cleaned.images
            if assignment[image.inspection.sha256] == split
        ]
        return sorted(members, key=lambda image: rank_of(image.inspection.sha256, self.seed))

    def entries(self) -> list[Entry]:
        """List the lines of manifest.csv, split by split."""
        return [
            Entry(
                file=image.inspection.path,
                class_name=image.inspection.class_name,
                patient=image.row.patient if image.row else "",
                sha256=image.inspection.sha256,
                split=split,
            )
            for split in contract.SPLITS
            for image in self.chosen(split)
        ]


def look(settings: Settings) -> Folder:
    """List the images and read the metadata.

    Raises:
        InputError: the data folder or its metadata are at fault.
    """
    listing = list_folder(settings)
    found = listing.found
    # By their names alone: nothing is opened where that is enough to stop.
    check_bad_fraction(found.left_out, sum(found.found.values()), settings.limits)
    return Folder(listing.found, listing.metadata, match(settings, listing))


def inspect(settings: Settings, folder: Folder) -> list[Inspection]:
    """Open all candidates, a thread a core; the node does it through Beam.

    Args:
        settings: of the node.
        folder: what `look` returned.
    """
    salt = salt_for(candidate.path for candidate in folder.found.candidates).value

    def one(candidate: Candidate) -> Inspection:
        return inspect_file(settings.data_dir, candidate, settings.limits, salt)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, folder.found.candidates))


def with_headers(settings: Settings, folder: Folder, inspections: Sequence[Inspection]) -> Folder:
    """Add what DICOM headers say to the tables' rows.

    Args:
        settings: of the node.
        folder: what `look` returned.
        inspections: of all its candidates.
    """
    rendering = settings.limits.rendering
    matched = informed(folder.matched, inspections, settings.columns, settings.table, rendering)
    return replace(folder, matched=matched)


def sift(settings: Settings, folder: Folder, inspections: Sequence[Inspection]) -> Usable:
    """Leave out what can't be used.

    Args:
        settings: of the node.
        folder: what `with_headers` returned.
        inspections: of all its candidates.

    Raises:
        InputError: too many images are bad.
    """
    found = folder.found
    by_span = tuple(_clean_spans(settings, folder, inspections))
    if by_span:
        # A span's copies are found when it is known what came before it.
        rejected = (item for span, part in by_span if span.taken for item in part.left_out)
        copies = sum(part.duplicates_dropped for span, part in by_span if span.taken)
        cleaned = Cleaned((), tuple(rejected), copies)
    else:
        cleaned = clean(inspections, folder.matched.by_path, settings.classes)
    left_out = joined(found.left_out, folder.matched.left_out, cleaned.left_out)
    check_bad_fraction(left_out, sum(found.found.values()), settings.limits)
    return Usable(found, cleaned, left_out, by_span, folder.matched.remarks)


def decide(settings: Settings, usable: Usable, known: Mapping[str, Kept] | None = None) -> Decision:
    """Split the usable images with the settings' seed.

    Args:
        settings: of the node.
        usable: what `sift` returned.
        known: what images of spans were given by earlier runs.

    Raises:
        InputError: a class has too few images, or too few patients, for three splits.
    """
    if usable.by_span:
        return _decide_spans(settings, usable, known or {})
    split = split_images(
        [
            SplitImage(image.inspection.sha256, image.inspection.class_name, image.group)
            for image in usable.cleaned.images
        ],
        settings.class_names,
        settings.seed,
        settings.test_fraction,
        settings.eval_fraction,
    )
    _log(split)
    reason = f"not among the {split.per_class} drawn of its class"
    left_out = joined(usable.left_out, _down_sampled(usable.cleaned, split, reason))
    return Decision(usable, split, left_out, settings.seed)


def _decide_spans(settings: Settings, usable: Usable, known: Mapping[str, Kept]) -> Decision:
    merged = merge_spans(settings, usable.by_span, known)
    split = split_result(settings, merged)
    _log(split)
    taken = [
        image
        for span in settings.spans
        if span.taken
        for image in merged.images[span.number]
        if image.inspection.sha256 in split.assignment
    ]
    copies = usable.cleaned.duplicates_dropped + merged.duplicates_dropped
    cleaned = Cleaned(tuple(taken), (), copies)
    reason = "not among those drawn of its class in its span"
    down_sampled = _down_sampled(cleaned, split, reason)
    left_out = joined(usable.left_out, merged.left_out, down_sampled)
    return Decision(replace(usable, cleaned=cleaned), split, left_out, settings.seed, merged)


def _log(split: SplitResult) -> None:
    for deviation in split.deviations:
        logging.warning("Split: %s", deviation)


def _clean_spans(
    settings: Settings, folder: Folder, inspections: Sequence[Inspection]
) -> Iterator[tuple[SpanFolder, Cleaned]]:
    for span in settings.spans:
        own = [item for item in inspections if item.path.startswith(f"{span.folder}/")]
        yield span, clean(own, folder.matched.by_path, settings.classes)


def summarize(settings: Settings, decision: Decision) -> Summary:
    """Build the content of the manifest's summary.json."""
    images = decision.usable.cleaned.images
    owners = {image.inspection.sha256: image.patients for image in images}
    chosen = {name: decision.chosen(name) for name in contract.SPLITS}
    conversions = _conversions(chosen)
    clean_counts = Counter(image.inspection.class_name for image in images)
    return Summary(
        classes=settings.class_names,
        seed=settings.seed,
        fractions={
            contract.SPLIT_TEST: str(settings.test_fraction),
            contract.SPLIT_EVAL: str(settings.eval_fraction),
        },
        images_found=decision.usable.found.found,
        images_clean={name: clean_counts[name] for name in settings.class_names},
        images_per_class=decision.split.per_class,
        split_counts=decision.split.counts,
        left_out=dict(Counter(item.kind.value for item in decision.left_out)),
        duplicates_dropped=decision.usable.cleaned.duplicates_dropped,
        patients={
            name: len(frozenset().union(*(image.patients for image in members)))
            for name, members in chosen.items()
        },
        images_without_patient=sum(
            not image.patients for members in chosen.values() for image in members
        ),
        patients_in_two_splits=_torn(decision, chosen, owners),
        digest=digest(decision.entries()),
        sources=_counted(settings, chosen, _source_of),
        licences=_counted(settings, chosen, _licence_of),
        deviations=tuple(asdict(item) for item in decision.split.deviations),
        conversions=conversions,
        rendering=rendering_to_note(settings.limits.rendering, conversions),
        spans=tuple(_span_counts(settings, decision.merged)) if decision.merged else (),
        remarks=tuple(asdict(remark) for remark in _remarks(decision, chosen, settings.table)),
    )


def _conversions(chosen: Mapping[str, Sequence[CleanImage]]) -> dict[str, int]:
    images = (image for members in chosen.values() for image in members)
    counts = Counter(filter(None, (image.inspection.conversion for image in images)))
    return dict(sorted(counts.items()))


def _torn(
    decision: Decision,
    chosen: Mapping[str, Sequence[CleanImage]],
    owners: Mapping[str, frozenset[str]],
) -> int | None:
    if not any(image.patients for members in chosen.values() for image in members):
        return None
    return len(shared_between_splits(decision.split.assignment, owners))


def _remarks(
    decision: Decision,
    chosen: Mapping[str, Sequence[CleanImage]],
    table: Sequence[TableColumn],
) -> Iterator[Remark]:
    usable = decision.usable
    images = [(image.inspection, image.row) for part in chosen.values() for image in part]
    return remarks_on(images, usable.found, usable.remarks, table)


def remarks_on(
    images: Sequence[tuple[Inspection, Row | None]],
    found: Discovery,
    on_tables: Iterable[Remark],
    table: Sequence[TableColumn] = (),
) -> Iterator[Remark]:
    """Say what is not known of a data folder, or not as it seems.

    Args:
        images: that are used, each with its row; None for an image without one.
        found: the images' names, and what else is there.
        on_tables: what was said of the tables.
        table: columns that models take.
    """
    rows = [row for _, row in images]
    yield from of_patients(rows)
    yield from of_ids(rows)
    yield from of_names([image.path for image, _ in images], rows)
    yield from on_tables
    yield from of_files(found.left_out)
    yield from of_folders(found.beside)
    yield from of_unread_folders(found.unread)
    yield from of_ages(rows)
    yield from of_classes((image.class_name, row) for image, row in images)
    yield from of_copies([image for image, _ in images])
    for sentence in sentences_on(table, (row.table for row in rows if row)):
        yield Remark(COLUMNS, sentence)


def _span_counts(settings: Settings, merged: Merged) -> Iterator[dict[str, Any]]:
    assignment = merged.split.assignment
    for span in settings.spans:
        counts = Counter(assignment[image.inspection.sha256] for image in merged.used(span.number))
        yield {
            "number": span.number,
            "folder": span.folder,
            "taken": span.taken,
            "images": {name: counts[name] for name in contract.SPLITS},
        }


def _counted(
    settings: Settings,
    chosen: Mapping[str, Sequence[CleanImage]],
    value_of: Callable[[Row | None], str],
) -> dict[str, dict[str, int]]:
    """Count images of all splits: class → value → images."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in settings.class_names}
    for members in chosen.values():
        for image in members:
            counts[image.inspection.class_name][value_of(image.row)] += 1
    return {name: dict(sorted(values.items())) for name, values in counts.items()}


def _source_of(row: Row | None) -> str:
    return row.text[SOURCE_COLUMN] if row else contract.UNKNOWN


def _licence_of(row: Row | None) -> str:
    return row.licence if row else contract.UNKNOWN


def _down_sampled(cleaned: Cleaned, split: SplitResult, reason: str) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(image.inspection.path, Kind.DOWN_SAMPLED, reason)
        for image in cleaned.images
        if split.assignment[image.inspection.sha256] == UNUSED
    )
