"""The cleaned images of several spans → one set of images, each once, with its split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from common.errors import InputError
from components.radiograph_example_gen.cleaning import Cleaned, CleanImage
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.settings import Settings, SpanFolder
from components.radiograph_example_gen.span_split import (
    Kept,
    SpanImage,
    SpansSplit,
    SplitRule,
    split_spans,
)
from components.radiograph_example_gen.split import (
    UNUSED,
    Deviation,
    SplitResult,
    check_no_empty,
    split_counts,
)
from schema import contract

# Of a window: floor and rounding of two sums of spans.
_ROUNDING = 2
_REASON = "images keep the split they have, and so do patients, whichever spans are taken"


@dataclass(frozen=True)
class Merged:
    """The images of all spans.

    Attributes:
        images: span number → its images, each where it came first, with all known patients.
        split: which place each has.
        left_out: of the spans that are taken: copies, and what can't be used because of
            another span.
        duplicates_dropped: copies of images of earlier spans, in spans that are taken.
    """

    images: dict[int, tuple[CleanImage, ...]]
    split: SpansSplit
    left_out: tuple[LeftOut, ...]
    duplicates_dropped: int

    def used(self, number: int) -> list[CleanImage]:
        """List the images of a span that are in a split."""
        assignment = self.split.assignment
        return [
            image
            for image in self.images[number]
            if assignment.get(image.inspection.sha256, UNUSED) != UNUSED
        ]


def merge_spans(
    settings: Settings,
    by_span: Sequence[tuple[SpanFolder, Cleaned]],
    known: Mapping[str, Kept],
) -> Merged:
    """Split the images span by span, and drop copies.

    Args:
        settings: of the node.
        by_span: the usable images, in the order of the spans.
        known: see `span_split.split_spans`.

    Raises:
        InputError: the first span has too few images, or of too few patients.
    """
    given = [
        (
            span.number,
            [
                SpanImage(i.inspection.sha256, i.inspection.class_name, i.patients)
                for i in cleaned.images
            ],
        )
        for span, cleaned in by_span
    ]
    split = split_spans(given, known, _rule(settings))
    first: dict[str, CleanImage] = {}
    images: dict[int, tuple[CleanImage, ...]] = {}
    copies: list[LeftOut] = []
    for span, cleaned in by_span:
        own = []
        for image in cleaned.images:
            before = first.setdefault(image.inspection.sha256, image)
            if before is image:
                patients = split.kept[image.inspection.sha256].patients
                own.append(replace(image, patients=patients))
            elif span.taken and image.inspection.sha256 not in split.doubted:
                reason = f"byte-identical with {before.inspection.path}"
                copies.append(LeftOut(image.inspection.path, Kind.DUPLICATE, reason))
        images[span.number] = tuple(own)
    unusable = tuple(_unusable(by_span, split))
    return Merged(images, split, (*copies, *unusable), len(copies))


def split_result(settings: Settings, merged: Merged) -> SplitResult:
    """Return the split of the spans that are taken.

    Raises:
        InputError: a class has no image in one of the splits.
    """
    taken = [span.number for span in settings.spans if span.taken]
    every = merged.split.assignment
    assignment = {}
    counts = {name: dict.fromkeys(contract.SPLITS, 0) for name in settings.class_names}
    for number in taken:
        for image in merged.images[number]:
            sha256, name = image.inspection.sha256, image.inspection.class_name
            if sha256 in every:
                assignment[sha256] = every[sha256]
                if every[sha256] != UNUSED:
                    counts[name][every[sha256]] += 1
    try:
        check_no_empty(counts)
    except InputError as error:
        raise InputError(
            f"{error} Or take more spans: data.window says how many; now {_listed(taken)} taken."
        ) from error
    return SplitResult(
        assignment,
        min(sum(row.values()) for row in counts.values()),
        counts,
        tuple(_deviations(settings, counts)),
    )


def _rule(settings: Settings) -> SplitRule:
    return SplitRule(
        settings.class_names, settings.seed, settings.test_fraction, settings.eval_fraction
    )


def _unusable(
    by_span: Sequence[tuple[SpanFolder, Cleaned]], split: SpansSplit
) -> Iterator[LeftOut]:
    for span, cleaned in by_span:
        for image in cleaned.images if span.taken else ():
            sha256 = image.inspection.sha256
            if sha256 in split.doubted:
                reason = "contradictory label: the same file was in another class in another span"
                yield LeftOut(image.inspection.path, Kind.BAD, reason)
            elif sha256 in split.torn:
                reason = (
                    "its patient goes by several ids, and they were put into two splits before "
                    "a later span showed it"
                )
                yield LeftOut(image.inspection.path, Kind.PATIENT, reason)


def _deviations(settings: Settings, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Deviation]:
    tolerance = 0 if all(span.taken for span in settings.spans) else _ROUNDING
    for name, row in counts.items():
        wanted = split_counts(sum(row.values()), settings.test_fraction, settings.eval_fraction)
        for split in contract.SPLITS:
            if abs(row[split] - wanted[split]) > tolerance:
                yield Deviation(name, split, wanted[split], row[split], _REASON)


def _listed(numbers: Sequence[int]) -> str:
    return (
        f"span {numbers[0]} is"
        if len(numbers) == 1
        else f"spans {', '.join(map(str, numbers))} are"
    )
