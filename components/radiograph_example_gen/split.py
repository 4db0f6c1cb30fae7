"""Balancing and the exact, patient-disjoint split. Pure, no IO.

The rule, for n images a class (n = size of the smallest class):

    test  = ⌊test_fraction · n⌋
    eval  = ⌊eval_fraction · (n − test) + ½⌋
    train = n − test − eval

It is the paper's: 219 images a class, split 80/20 and then 70/30, are 123 train, 53
validation and 43 test images (Liang and Hayes 2020, the table of the data section).
0.2 · 219 = 43.8 became 43, so the test share is rounded down; 0.3 · 176 = 52.8 became
53, so the validation share is rounded to nearest. Fractions are exact rationals: in
floating point 0.3 · n can fall on the wrong side of a half.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from common.errors import InputError
from components.radiograph_example_gen.packing import (
    DEFAULT_BUDGET,
    FILL_ORDER,
    Group,
    IntArray,
    pack,
)
from schema import contract

UNUSED = "unused"


@dataclass(frozen=True)
class SplitImage:
    """The facts of an image that the split may know; `group` is "" where it stands alone."""

    sha256: str
    class_name: str
    group: str = ""


@dataclass(frozen=True)
class Deviation:
    """A count that could not be met."""

    class_name: str
    split: str
    wanted: int
    got: int
    reason: str


@dataclass(frozen=True)
class SplitResult:
    """The finished split.

    Attributes:
        assignment: sha256 → split name, or UNUSED for a down-sampled image.
        per_class: n, images used of every class.
        counts: class → split → number of images.
        deviations: empty where the counts are exact.
    """

    assignment: dict[str, str]
    per_class: int
    counts: dict[str, dict[str, int]]
    deviations: tuple[Deviation, ...]


def split_counts(n: int, test_fraction: Fraction, eval_fraction: Fraction) -> dict[str, int]:
    """Count images a split for n images of a class, by the rule in the module docstring."""
    test = int(test_fraction * n)
    evaluation = int(eval_fraction * (n - test) + Fraction(1, 2))
    return {
        contract.SPLIT_TRAIN: n - test - evaluation,
        contract.SPLIT_EVAL: evaluation,
        contract.SPLIT_TEST: test,
    }


def rank_of(sha256: str, seed: int) -> str:
    """Compute the seeded rank of an image, 64 hex digits: a hash of its content and the seed."""
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()


def split_images(
    images: Sequence[SplitImage],
    classes: Sequence[str],
    seed: int,
    test_fraction: Fraction,
    eval_fraction: Fraction,
    budget: int = DEFAULT_BUDGET,
) -> SplitResult:
    """Down-sample every class to the smallest one and split it.

    The result depends on contents, classes, the seed and on which images share a group;
    not on the order of `images`, and not on how a group is called.

    Args:
        images: with distinct sha256.
        classes: names, the labels' order.
        seed: any integer.
        test_fraction: share of n that is tested on.
        eval_fraction: share of the rest that is validated on.
        budget: see `packing.pack`.

    Raises:
        InputError: a class has too few images, or too few patients, for three splits.
    """
    ranked: dict[str, list[tuple[str, SplitImage]]] = {name: [] for name in classes}
    for image in images:
        ranked[image.class_name].append((rank_of(image.sha256, seed), image))
    n = min(len(entries) for entries in ranked.values())
    wanted = split_counts(n, test_fraction, eval_fraction)
    if min(wanted.values()) < 1:
        _raise_too_few(ranked, wanted)
    chosen = {
        name: [image for _, image in sorted(ranked[name], key=lambda entry: entry[0])[:n]]
        for name in classes
    }
    targets = np.array([[wanted[name] for name in contract.SPLITS]] * len(classes))
    placed, note = place(chosen, targets, seed, budget)
    assignment = {image.sha256: UNUSED for image in images} | placed
    counts = _count(assignment, chosen)
    deviations = tuple(
        Deviation(name, split, wanted[split], counts[name][split], note)
        for name in classes
        for split in contract.SPLITS
        if counts[name][split] != wanted[split]
    )
    check_no_empty(counts)
    return SplitResult(assignment, n, counts, deviations)


def place(
    chosen: Mapping[str, Sequence[SplitImage]], targets: IntArray, seed: int, budget: int
) -> tuple[dict[str, str], str]:
    """Put each image into a split, images of one group into the same.

    Args:
        chosen: class → its images, in the order of their ranks.
        targets: int [classes, 3], wanted images a class and split, `contract.SPLITS` order; of
            a class, together at least as many as `chosen` has.
        seed: of ranks and draws.
        budget: see `packing.pack`.

    Returns:
        sha256 → split, of all that were chosen; and why targets may be missed, or "".
    """
    classes = list(chosen)
    groups, members, alone = _group(chosen, seed)
    packing = pack(groups, targets, seed, budget)
    assignment: dict[str, str] = {}
    for rank, index in packing.placement.items():
        assignment.update(dict.fromkeys(members[rank], contract.SPLITS[index]))
    for row, name in enumerate(classes):
        used = np.zeros(len(contract.SPLITS), np.int64)
        for group in groups:
            used[packing.placement[group.rank]] += group.counts[row]
        assignment.update(_fill(alone[name], np.maximum(targets[row] - used, 0)))
    return assignment, packing.note


def shared_between_splits(
    assignment: Mapping[str, str], owners: Mapping[str, frozenset[str]]
) -> list[str]:
    """Find the patient ids that are in more than one split, counted afresh.

    Args:
        assignment: sha256 → split or UNUSED.
        owners: sha256 → patient ids.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for sha256, split in assignment.items():
        if split != UNUSED:
            for patient in owners[sha256]:
                seen[patient].add(split)
    return sorted(patient for patient, splits in seen.items() if len(splits) > 1)


def first_of_group(groups: Mapping[str, str]) -> dict[str, str]:
    """Find the smallest digest of each image's group: its name, without what people are called.

    Args:
        groups: sha256 → group, or "" for an image that stands alone, whose name is its own.
    """
    first: dict[str, str] = {}
    for sha256 in sorted(groups):
        first.setdefault(groups[sha256], sha256)
    return {sha256: first[group] if group else sha256 for sha256, group in groups.items()}


def _group(
    chosen: Mapping[str, Sequence[SplitImage]], seed: int
) -> tuple[list[Group], dict[str, list[str]], dict[str, list[str]]]:
    by_group: dict[str, list[tuple[str, SplitImage]]] = defaultdict(list)
    alone: dict[str, list[str]] = {name: [] for name in chosen}
    ranks = {
        image.sha256: rank_of(image.sha256, seed) for images in chosen.values() for image in images
    }
    for images in chosen.values():
        for image in images:
            rank = ranks[image.sha256]
            by_group[image.group or f"alone:{rank}"].append((rank, image))
    groups = []
    members = {}
    for entries in by_group.values():
        if len(entries) == 1:
            alone[entries[0][1].class_name].append(entries[0][1].sha256)
            continue
        smallest = min(rank for rank, _ in entries)
        names = [image.class_name for _, image in entries]
        groups.append(Group(smallest, tuple(names.count(name) for name in chosen)))
        members[smallest] = [image.sha256 for _, image in entries]
    return groups, members, {name: sorted(alone[name], key=ranks.__getitem__) for name in chosen}


def _fill(ordered: Sequence[str], missing: IntArray) -> dict[str, str]:
    filled = {}
    start = 0
    for index in FILL_ORDER:
        end = start + int(missing[index])
        filled.update(dict.fromkeys(ordered[start:end], contract.SPLITS[index]))
        start = end
    return filled


def _count(
    assignment: Mapping[str, str], chosen: Mapping[str, Sequence[SplitImage]]
) -> dict[str, dict[str, int]]:
    counts = {name: dict.fromkeys(contract.SPLITS, 0) for name in chosen}
    for name, images in chosen.items():
        for image in images:
            counts[name][assignment[image.sha256]] += 1
    return counts


def _raise_too_few(ranked: Mapping[str, Sequence[object]], wanted: Mapping[str, int]) -> None:
    name, entries = min(ranked.items(), key=lambda item: len(item[1]))
    empty = " and ".join(split for split, count in wanted.items() if count < 1)
    raise InputError(
        f"class {name!r} has {len(entries)} usable images: too few, {empty} would get none. "
        f"Add images of this class, or change data.test_fraction or data.eval_fraction."
    )


def check_no_empty(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Raise InputError where a class (outer key) has no image in a split (inner key)."""
    for name, row in counts.items():
        for split, count in row.items():
            if count < 1:
                raise InputError(
                    f"class {name!r} has images of too few patients: none is left for {split}, "
                    f"because a patient's images stay together. Add images of other patients."
                )
