"""Chooses the images of a log that a person should label, by a design with known probabilities.

The images are cut into three strata: drifted ones, then unsure ones, then all others. From each, a
simple random sample is drawn, so an image's weight is the size of its stratum over the size of its
sample. With it, what is found on the labelled images says something of all that was served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.watch.log_rows import Row
from pipeline.watch.reference import Reference

DRIFTED: Final = "drifted"
UNSURE: Final = "unsure"
RANDOM: Final = "random"
STRATA: Final = (DRIFTED, UNSURE, RANDOM)


@dataclass(frozen=True)
class Chosen:
    """An image that a person should label.

    Attributes:
        row: what was asked and answered last.
        stratum: one of `STRATA`.
        because: what put it there: the gate's reason, features beyond training's, or empty.
        probability: of being chosen, above 0 and at most 1.
    """

    row: Row
    stratum: str
    because: str
    probability: float

    @property
    def weight(self) -> float:
        """The number of images that it stands for."""
        return 1.0 / self.probability


@dataclass(frozen=True)
class Selection:
    """The chosen images, and what they were chosen from.

    Attributes:
        chosen: by stratum, and within it by the draw.
        sizes: stratum -> images in it.
    """

    chosen: tuple[Chosen, ...]
    sizes: Mapping[str, int]


def latest_answers(
    rows: Iterable[Row], model: str, versions: Collection[int]
) -> tuple[dict[str, Row], int]:
    """Keep of each image the latest answer of a model.

    Args:
        rows: of the log.
        model: name of it.
        versions: of which something was kept.

    Returns:
        Digest -> row; and the number of rows that have no digest, and so can't be found again.
    """
    found: dict[str, Row] = {}
    nameless = 0
    for row in rows:
        if row.model != model or row.version not in versions:
            continue
        if not row.digest:
            nameless += 1
            continue
        known = found.get(row.digest)
        if known is None or (row.seconds, row.version) > (known.seconds, known.version):
            found[row.digest] = row
    return found, nameless


@dataclass(frozen=True)
class Extent:
    """The extent of what a version was trained with.

    Attributes:
        numbers: feature -> smallest and largest value.
        texts: feature -> words.
    """

    numbers: Mapping[str, tuple[float, float]]
    texts: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, reference: Reference) -> Extent:
        """Look through a version's training."""
        return cls(
            {name: (min(values), max(values)) for name, values in reference.numbers.items()},
            {name: frozenset(words) for name, words in reference.texts.items()},
        )

    def beyond(self, row: Row) -> list[str]:
        """List the features of an image that no image of the training had.

        Returns:
            Numbers that are smaller or larger than all of training's, and words that it never had.
            By chance alone, two in n + 1 images have such a number, n being the training's images.
        """
        found = []
        for name, (low, high) in self.numbers.items():
            if name in row.numbers and not low <= row.numbers[name] <= high:
                found.append(name)
        for name, words in self.texts.items():
            if name in row.texts and row.texts[name] not in words:
                found.append(name)
        return found


def select(
    rows: Iterable[Row],
    references: Mapping[tuple[str, int], Reference],
    wanted: Mapping[str, int],
    seed: int,
) -> Selection:
    """Choose images.

    An image is drifted where the input gate kept it out, or where something of it lies beyond
    training's. Of the others, those are unsure that the model abstained on; where they are fewer
    than wanted, the least sure ones besides, up to half of the others.

    Args:
        rows: an image each, of versions in `references`.
        references: (model, version) -> what it was trained with.
        wanted: stratum -> how many; all of a stratum that has fewer.
        seed: of the draw. Images are ranked by a digest of seed and image, so the log's order
            plays no part, and one more image changes little.
    """
    drifted: dict[str, str] = {}
    others: list[Row] = []
    every = {row.digest: row for row in rows}
    extents = {name: Extent.of(reference) for name, reference in references.items()}
    for row in every.values():
        why = [] if row.in_domain in (None, True) else [row.domain_reason]
        why += extents[row.model, row.version].beyond(row)
        if why:
            drifted[row.digest] = " ".join(why)
        else:
            others.append(row)
    # Abstained ones first; ties by digest, so that the order is the same for each log.
    others.sort(key=lambda row: (not row.abstained, row.confidence, row.digest))
    abstained = sum(row.abstained for row in others)
    unsure = max(abstained, min(wanted[UNSURE], len(others) // 2))
    members = {
        DRIFTED: [every[digest] for digest in drifted],
        UNSURE: others[:unsure] if wanted[UNSURE] else [],
        RANDOM: others[unsure:] if wanted[UNSURE] else others,
    }
    chosen = [
        Chosen(row, stratum, drifted.get(row.digest, ""), probability)
        for stratum in STRATA
        for row, probability in _drawn(members[stratum], wanted[stratum], seed)
    ]
    return Selection(tuple(chosen), {stratum: len(members[stratum]) for stratum in STRATA})


def _drawn(members: Sequence[Row], count: int, seed: int) -> Iterable[tuple[Row, float]]:
    """Draw without replacement, each with the same probability."""
    ranked = sorted(
        members, key=lambda row: hashlib.sha256(f"{seed} {row.digest}".encode()).digest()
    )
    taken = ranked[:count]
    return [(row, len(taken) / len(members)) for row in taken]
