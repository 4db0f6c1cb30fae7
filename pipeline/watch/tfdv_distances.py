"""TFDV's own distances, beside those that know how many images they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from components.radiograph_example_gen.span_facts import NUMBERS
from components.report.drift import KNOWN_SHARE
from components.report.images import COLUMNS
from components.report.images import NUMBERS as NAMES
from components.span_drift.distance import Facts, distances_of_facts
from pipeline.watch.log_rows import Row
from pipeline.watch.reference import Reference
from schema import contract

_FEATURES: Final = {**NAMES, "age": contract.AGE, **COLUMNS}


def tfdv_distances(
    rows: Sequence[Row], references: Mapping[tuple[str, int], Reference]
) -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """Compute them for each version that is judged.

    Args:
        rows: of the log.
        references: (model, version) -> what it was trained with.

    Returns:
        (model, version) -> feature -> `measure` (TFDV's name) and `value`, 0..1.
    """
    return {
        key: _of_version([row for row in rows if (row.model, row.version) == key], reference)
        for key, reference in references.items()
    }


def _of_version(rows: Sequence[Row], reference: Reference) -> dict[str, dict[str, Any]]:
    now: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for name, values in reference.numbers.items():
        if known := [str(row.numbers[name]) for row in rows if name in row.numbers]:
            now[name], before[name] = known, [str(value) for value in values]
    for name, words in reference.texts.items():
        if told := [row.texts[name] for row in rows if name in row.texts]:
            now[name], before[name] = told, words
    if not now:
        return {}
    return {
        _FEATURES[row["feature"]]: {"measure": row["measure"], "value": row["value"]}
        for row in distances_of_facts(_even(now), _even(before))
        if row["measure"] != KNOWN_SHARE
    }


def _even(facts: Mapping[str, Sequence[str]]) -> Facts:
    """Fill columns up to one length: TFDV's shares are of what is known."""
    longest = max(map(len, facts.values()))
    nothing = {name: "" if name in NUMBERS else None for name in facts}
    return {
        name: [*values, *[nothing[name]] * (longest - len(values))]
        for name, values in facts.items()
    }


def in_words(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write the distances as the page shows them: feature -> "0.123 JENSEN_SHANNON_DIVERGENCE"."""
    return {name: f"{one['value']:.3f} {one['measure']}" for name, one in found.items()}
