"""The limits of what may be found, beyond which nothing is pushed any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from components.shortcut_audit.shortcuts import BORDERS, MASKED, METADATA, Shortcut

_LIMITED: Final = {
    METADATA: "metadata",
    BORDERS: "border and corners",
    MASKED: "the image without its lungs",
}


@dataclass(frozen=True)
class Limits:
    """Each asks for nothing where it is None; what is equal to it passes.

    Attributes:
        max_duplicates_across_splits: pairs of near-duplicates in two splits.
        max_patients_across_splits: patients in two splits.
        max_shortcut_accuracy: on the test split, from all metadata, from border and corners,
            and from the image without its lungs, 0..1.
        max_table_auc: see `table_findings.table_failures`.
    """

    max_duplicates_across_splits: int | None = None
    max_patients_across_splits: int | None = None
    max_shortcut_accuracy: float | None = None
    max_table_auc: float | None = None


def failures(
    limits: Limits, duplicates: int, patients: int, shortcuts: Sequence[Shortcut]
) -> list[str]:
    """Say what exceeds the limits: a phrase each, with the field that asks for it.

    Args:
        limits: the configured ones.
        duplicates: pairs across splits.
        patients: in two splits.
        shortcuts: all that were measured.
    """
    counted = (
        (duplicates, "pairs of near-duplicates", "max_duplicates_across_splits"),
        (patients, "patients", "max_patients_across_splits"),
    )
    found = []
    for count, what, field in counted:
        limit = getattr(limits, field)
        if limit is not None and count > limit:
            found.append(f"{count} {what} in two splits, more than {limit} (audit.{field})")
    if limits.max_shortcut_accuracy is not None:
        found += _too_accurate(limits.max_shortcut_accuracy, shortcuts)
    return found


def _too_accurate(limit: float, shortcuts: Sequence[Shortcut]) -> Iterator[str]:
    field = "audit.max_shortcut_accuracy"
    if not shortcuts:
        # What could not be looked at is not within a limit.
        yield f"no test image, or no second class, to measure shortcuts on ({field})"
    for shortcut in shortcuts:
        limited = shortcut.seen in _LIMITED and shortcut.against_rest is None
        if limited and shortcut.accuracy > limit:
            yield (
                f"{_LIMITED[shortcut.seen]} alone: accuracy {shortcut.accuracy:.4f}, "
                f"above {limit:.6g} ({field})"
            )
