"""The figures of the images: how many, from where, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, Final

from components.radiograph_example_gen.manifest import read_left_out, read_summary
from components.report.images import COLUMNS, NUMBERS, ImageFacts
from models.backbones import are_the_papers
from schema import contract

# The paper's images of each class, 657 in all.
PAPER_SPLIT: Final = {"train": 123, "eval": 53, "test": 43}
# So many of what was left out are on the page; left_out.csv and the JSON have all.
SHOWN_LEFT_OUT: Final = 50


def data_figures(manifest_uri: str, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    """Compute the data page's figures.

    Args:
        manifest_uri: RadiographExampleGen's `manifest`.
        facts: of all images.

    Returns:
        What JSON can hold: the manifest's own `summary`; `left_out` (path, kind, reason);
        `statistics` (class -> split -> number in NUMBERS -> `mean` and `sd`, None without
        images); `columns` (column -> value -> class -> images); `paper_split`
        (None where the classes are others than the paper's).
    """
    summary = read_summary(manifest_uri)
    classes = summary["classes"]
    return {
        "summary": summary,
        "left_out": [
            {"path": item.path, "kind": item.kind.value, "reason": item.reason}
            for item in read_left_out(manifest_uri)
        ],
        "statistics": {
            name: {
                split: _moments(
                    [f for f in facts if f.label == label and f.split == split],
                )
                for split in contract.SPLITS
            }
            for label, name in enumerate(classes)
        },
        "columns": {
            column: _by_class(facts, column, classes)
            for column in dict.fromkeys((*COLUMNS, *(name for f in facts for name in f.columns)))
        },
        "paper_split": PAPER_SPLIT if are_the_papers(classes) else None,
    }


def _moments(facts: Sequence[ImageFacts]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation (of these images, not of more) of each number."""
    return {
        name: {
            "mean": fmean(f.numbers[name] for f in facts) if facts else None,
            "sd": pstdev(f.numbers[name] for f in facts) if facts else None,
        }
        for name in NUMBERS
    }


def _by_class(
    facts: Sequence[ImageFacts], column: str, classes: Sequence[str]
) -> Mapping[str, Mapping[str, int]]:
    counts = Counter((f.columns[column], f.label) for f in facts)
    values = sorted({value for value, _ in counts})
    return {
        value: {name: counts[value, label] for label, name in enumerate(classes)}
        for value in values
    }
