"""The leaks between two splits: images that show the same, and patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from components.radiograph_example_gen.manifest import Entry
from components.shortcut_audit.near_duplicates import Pair, find_pairs
from components.shortcut_audit.radiographs import Radiograph
from schema import contract

# All are counted; the first of them are listed.
_MOST_LISTED: Final = 1_000


def duplicates(images: Sequence[Radiograph], min_correlation: float) -> dict[str, Any]:
    """Describe near-duplicates, as audit.json has them (see the README).

    Args:
        images: of all splits.
        min_correlation: see `find_pairs`.
    """
    if not images:
        return _of_pairs(images, [], min_correlation)
    pairs = find_pairs(
        np.stack([image.thumbnail for image in images]),
        [image.texture for image in images],
        [image.split for image in images],
        min_correlation,
    )
    return _of_pairs(images, pairs, min_correlation)


def _of_pairs(
    images: Sequence[Radiograph], pairs: Sequence[Pair], min_correlation: float
) -> dict[str, Any]:
    described = [_described(images, pair) for pair in pairs]
    across = [
        pair for pair in described if pair["images"][0]["split"] != pair["images"][1]["split"]
    ]
    within = [
        pair for pair in described if pair["images"][0]["split"] == pair["images"][1]["split"]
    ]
    return {
        "min_correlation": min_correlation,
        "across_splits": len(across),
        "within_a_split": len(within),
        "probably_wrong_patient_ids": sum(pair["patients_differ"] for pair in described),
        "pairs_across_splits": across[:_MOST_LISTED],
        "pairs_within_a_split": within[:_MOST_LISTED],
    }


def _described(images: Sequence[Radiograph], pair: Pair) -> dict[str, Any]:
    both = (images[pair.first], images[pair.second])
    known = [image.patient for image in both if image.patient != contract.UNKNOWN]
    return {
        "images": [
            {
                "path": image.path,
                "sha256": image.sha256,
                "class": image.class_name,
                "patient": image.patient,
                "split": image.split,
            }
            for image in both
        ],
        "hash_distance": pair.bits,
        "correlation": round(pair.correlation, 4),
        "patients_differ": len(set(known)) == 2,
    }


def patients(entries: Iterable[Entry]) -> dict[str, Any]:
    """Describe patients in two splits, as audit.json has them (see the README).

    Args:
        entries: of the manifest.
    """
    images: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    unknown = 0
    for entry in entries:
        if entry.patient:
            images[entry.patient][entry.split].append(entry.file)
        else:
            unknown += 1
    torn = {name: splits for name, splits in sorted(images.items()) if len(splits) > 1}
    return {
        "known": len(images),
        "images_without_patient": unknown,
        "across_splits": len(torn),
        "listed": [
            {"patient": name, "images": {split: sorted(splits[split]) for split in sorted(splits)}}
            for name, splits in list(torn.items())[:_MOST_LISTED]
        ],
    }
