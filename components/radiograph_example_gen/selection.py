"""What is in the data folder → which image is in which split. No Beam, no TFX.

The node looks, inspects the images and decides; a study over many seeds looks and inspects
once, and decides once a seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from absl import logging

from components.radiograph_example_gen.cleaning import (
    Cleaned,
    CleanImage,
    check_bad_fraction,
    clean,
)
from components.radiograph_example_gen.discovery import (
    Discovery,
    Kind,
    LeftOut,
    discover,
    find_metadata,
)
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.manifest import Entry, Summary, digest
from components.radiograph_example_gen.metadata import (
    SOURCE_COLUMN,
    Matched,
    Row,
    match_rows,
    parse_metadata,
    read_metadata_file,
)
from components.radiograph_example_gen.settings import Settings
from components.radiograph_example_gen.split import (
    UNUSED,
    SplitImage,
    SplitResult,
    rank_of,
    shared_between_splits,
    split_images,
)
from schema import contract


@dataclass(frozen=True)
class Folder:
    """What is known before any image is opened.

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
    """The images that any split may use; the same for every seed."""

    found: Discovery
    cleaned: Cleaned
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Decision:
    """All that is known before anything is written.

    Attributes:
        usable: the images there were to choose from.
        split: which of them is where.
        left_out: what is not used, down-sampled images included.
        seed: of the split.
    """

    usable: Usable
    split: SplitResult
    left_out: tuple[LeftOut, ...]
    seed: int

    def chosen(self, split: str) -> list[CleanImage]:
        """Images of a split in their seeded order."""
        assignment = self.split.assignment
        members = [
            image
            for image in self.usable.cleaned.images
            if assignment[image.inspection.sha256] == split
        ]
        return sorted(members, key=lambda image: rank_of(image.inspection.sha256, self.seed))

    def entries(self) -> list[Entry]:
        """The lines of manifest.csv, split by split."""
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
    """Lists the images and reads the metadata.

    Raises:
        InputError: the data folder or its metadata are at fault.
    """
    found = discover(settings.data_dir, settings.classes)
    table = find_metadata(settings.data_dir, settings.metadata_csv)
    content = None if table is None else read_metadata_file(table)
    return Folder(found, content, _match(settings, found, content, str(table)))


def sift(settings: Settings, folder: Folder, inspections: Sequence[Inspection]) -> Usable:
    """Leaves out what can't be used.

    Args:
        settings: of the node.
        folder: what `look` returned.
        inspections: of all its candidates.

    Raises:
        InputError: too many images are bad.
    """
    found = folder.found
    cleaned = clean(inspections, folder.matched.by_path, settings.classes)
    left_out = (*found.left_out, *folder.matched.left_out, *cleaned.left_out)
    check_bad_fraction(left_out, sum(found.found.values()), settings.limits)
    return Usable(found, cleaned, left_out)


def decide(settings: Settings, usable: Usable) -> Decision:
    """Splits the usable images with the settings' seed.

    Raises:
        InputError: a class has too few images, or too few patients, for three splits.
    """
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
    for deviation in split.deviations:
        logging.warning("Split: %s", deviation)
    left_out = (*usable.left_out, *_down_sampled(usable.cleaned, split))
    return Decision(usable, split, left_out, settings.seed)


def summarize(settings: Settings, decision: Decision) -> Summary:
    """The content of the manifest's summary.json."""
    images = decision.usable.cleaned.images
    owners = {image.inspection.sha256: image.patients for image in images}
    chosen = {name: decision.chosen(name) for name in contract.SPLITS}
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
        patients_in_two_splits=len(shared_between_splits(decision.split.assignment, owners)),
        digest=digest(decision.entries()),
        sources=_counted(settings, chosen, _source_of),
        licences=_counted(settings, chosen, _licence_of),
        deviations=tuple(asdict(item) for item in decision.split.deviations),
    )


def _counted(
    settings: Settings,
    chosen: Mapping[str, Sequence[CleanImage]],
    value_of: Callable[[Row | None], str],
) -> dict[str, dict[str, int]]:
    """Class → value → images of all splits."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in settings.class_names}
    for members in chosen.values():
        for image in members:
            counts[image.inspection.class_name][value_of(image.row)] += 1
    return {name: dict(sorted(values.items())) for name, values in counts.items()}


def _source_of(row: Row | None) -> str:
    return row.text[SOURCE_COLUMN] if row else contract.UNKNOWN


def _licence_of(row: Row | None) -> str:
    return row.licence if row else contract.UNKNOWN


def _match(settings: Settings, found: Discovery, content: bytes | None, name: str) -> Matched:
    if content is None:
        return Matched({}, ())
    table = parse_metadata(content, name, settings.columns)
    paths = [candidate.path for candidate in found.candidates]
    paths.extend(item.path for item in found.left_out if item.kind is Kind.BAD)
    matched = match_rows(table.rows, paths, name)
    return Matched(matched.by_path, (*matched.left_out, *table.problems))


def _down_sampled(cleaned: Cleaned, split: SplitResult) -> list[LeftOut]:
    reason = f"not among the {split.per_class} drawn of its class"
    return [
        LeftOut(image.inspection.path, Kind.DOWN_SAMPLED, reason)
        for image in cleaned.images
        if split.assignment[image.inspection.sha256] == UNUSED
    ]
