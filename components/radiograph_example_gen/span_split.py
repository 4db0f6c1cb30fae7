"""The split of images that arrive span by span: who has a place keeps it. Pure, no IO.

The spans are gone through from the first to the last. Of each, the images that are new are
down-sampled to its smallest class, so that any window of spans is balanced; a patient who has
a place gets the new images put there, and the rest is placed so that all spans together come
to the counts of `split.split_counts`. What a span's images get depends on no later span. The
first span is split as a folder without spans is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from common.errors import InputError
from components.radiograph_example_gen.cleaning import link_patients
from components.radiograph_example_gen.packing import DEFAULT_BUDGET, IntArray
from components.radiograph_example_gen.split import (
    UNUSED,
    SplitImage,
    place,
    rank_of,
    split_counts,
    split_images,
)
from schema import contract


@dataclass(frozen=True)
class SpanImage:
    """What the split may know of an image; `patients` is empty where nobody is named."""

    sha256: str
    class_name: str
    patients: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Kept:
    """What an image was given when it came.

    Attributes:
        class_name: its class.
        split: its split, or UNUSED for a down-sampled image.
        patients: all ids that any copy of it carries.
    """

    class_name: str
    split: str
    patients: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SpansSplit:
    """The finished split.

    Attributes:
        kept: sha256 → what it has, of all images ever seen.
        doubted: sha256 of images that two spans put into two classes.
        torn: sha256 of the images of patients who turned out to be one person after they
            were put into two splits. Nobody is moved; nothing of them can be used any more.
    """

    kept: dict[str, Kept]
    doubted: frozenset[str]
    torn: frozenset[str]

    @cached_property
    def groups(self) -> dict[str, str]:
        """sha256 → the same text for all images of a person, "" where nobody is named."""
        groups = _Groups(self.kept.values())
        return {sha256: groups.name(kept) for sha256, kept in self.kept.items()}

    @cached_property
    def assignment(self) -> dict[str, str]:
        """sha256 → split, or UNUSED; without what can't be used."""
        out = self.doubted | self.torn
        return {sha256: kept.split for sha256, kept in self.kept.items() if sha256 not in out}


@dataclass(frozen=True)
class SplitRule:
    """What the split of new images depends on besides the images.

    Attributes:
        classes: names in label order.
        seed: any integer.
        test_fraction: see `split.split_counts`.
        eval_fraction: likewise.
        budget: see `packing.pack`.
    """

    classes: Sequence[str]
    seed: int
    test_fraction: Fraction
    eval_fraction: Fraction
    budget: int = DEFAULT_BUDGET


def split_spans(
    spans: Sequence[tuple[int, Sequence[SpanImage]]], known: Mapping[str, Kept], rule: SplitRule
) -> SpansSplit:
    """Gives each image that has no place one.

    Args:
        spans: (number, images with distinct sha256), in the order in which they came.
        known: sha256 → what earlier runs gave; of spans that are unchanged it says what
            comes out here anyway, so it matters where spans are gone or were changed.
        rule: how new images are split.

    Raises:
        InputError: the first images are too few, or of too few patients, for three splits.
    """
    kept = dict(known)
    doubted: set[str] = set()
    for number, images in spans:
        new = []
        for image in images:
            before = kept.get(image.sha256)
            if before is None:
                new.append(image)
            elif before.class_name != image.class_name:
                doubted.add(image.sha256)
            else:
                patients = before.patients | image.patients
                kept[image.sha256] = replace(before, patients=patients)
        kept |= _placed(number, new, kept, rule)
    groups = _Groups(kept.values())
    torn = frozenset(sha256 for sha256, each in kept.items() if len(groups.homes(each)) > 1)
    return SpansSplit(kept, frozenset(doubted), torn)


class _Groups:
    """Patients who are one person, and the splits that their images are in."""

    def __init__(self, placed: Iterable[Kept], new: Sequence[SpanImage] = ()) -> None:
        placed = list(placed)
        sets = [each.patients for each in placed] + [each.patients for each in new]
        self._names = link_patients(sets)
        self._homes: dict[str, set[str]] = defaultdict(set)
        for each in placed:
            if each.patients and each.split != UNUSED:
                self._homes[self.name(each)].add(each.split)

    def name(self, image: Kept | SpanImage) -> str:
        """The same for all images of a person, "" where nobody is named."""
        return self._names[min(image.patients)] if image.patients else ""

    def homes(self, image: Kept | SpanImage) -> set[str]:
        """The splits that images of this image's patient are in."""
        return self._homes.get(self.name(image), set()) if image.patients else set()


def _placed(
    number: int, new: Sequence[SpanImage], kept: Mapping[str, Kept], rule: SplitRule
) -> dict[str, Kept]:
    """Say what the new images of one span get."""
    if not new:
        return {}
    groups = _Groups(kept.values(), new)
    if any(each.split != UNUSED for each in kept.values()):
        assignment = _added(new, groups, kept, rule)
    else:
        assignment = _first(number, new, groups, rule)
    return {
        image.sha256: Kept(image.class_name, assignment[image.sha256], image.patients)
        for image in new
    }


def _first(
    number: int, new: Sequence[SpanImage], groups: _Groups, rule: SplitRule
) -> dict[str, str]:
    try:
        return split_images(
            [SplitImage(image.sha256, image.class_name, groups.name(image)) for image in new],
            rule.classes,
            rule.seed,
            rule.test_fraction,
            rule.eval_fraction,
            rule.budget,
        ).assignment
    except InputError as error:
        raise InputError(f"span {number}, the first: {error}") from error


def _added(
    new: Sequence[SpanImage], groups: _Groups, kept: Mapping[str, Kept], rule: SplitRule
) -> dict[str, str]:
    """Splits images that come to those that have a place."""
    assignment = {image.sha256: UNUSED for image in new}
    free: dict[str, list[SplitImage]] = {}
    targets = []
    chosen = _drawn(new, rule)
    for name in rule.classes:
        counts = dict.fromkeys(contract.SPLITS, 0)
        for each in kept.values():
            if each.class_name == name and each.split != UNUSED:
                counts[each.split] += 1
        free[name] = []
        for image in chosen[name]:
            homes = groups.homes(image)
            if not homes:
                free[name].append(SplitImage(image.sha256, name, groups.name(image)))
            elif len(homes) == 1:
                (assignment[image.sha256],) = homes
                counts[assignment[image.sha256]] += 1
        targets.append(_missing(counts, len(free[name]), rule))
    placed, _ = place(free, np.array(targets), rule.seed, rule.budget)
    return assignment | placed


def _drawn(new: Sequence[SpanImage], rule: SplitRule) -> dict[str, list[SpanImage]]:
    """Draw of each class as many as the smallest has, by rank."""
    ranked = sorted(new, key=lambda image: rank_of(image.sha256, rule.seed))
    by_class = {name: [i for i in ranked if i.class_name == name] for name in rule.classes}
    n = min(map(len, by_class.values()))
    return {name: images[:n] for name, images in by_class.items()}


def _missing(counts: Mapping[str, int], free: int, rule: SplitRule) -> IntArray:
    """Say how many of a class's `free` images each split wants, int [3]; together `free`."""
    wanted = split_counts(sum(counts.values()) + free, rule.test_fraction, rule.eval_fraction)
    missing = np.array([max(wanted[name] - counts[name], 0) for name in contract.SPLITS])
    # Where a split has more than its share, the others can't all have theirs.
    while missing.sum() > free:
        missing[missing.argmax()] -= 1
    return missing
