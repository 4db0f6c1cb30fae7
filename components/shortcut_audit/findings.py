"""The findings, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.words import counted, percent
from components.shortcut_audit.shortcuts import (
    BORDERS,
    MASKED,
    METADATA,
    STATISTICS,
    WHOLE,
    Shortcut,
    column_of,
)
from schema.findings import Finding, Weight

LEAKS: Final = "leaks"
SHORTCUTS: Final = "shortcuts"
_SEEN: Final = {
    METADATA: "The row of metadata as a whole",
    STATISTICS: "The set of image statistics (size, file size, mean, deviation, entropy) alone",
    BORDERS: "The border with its corners alone",
    MASKED: "The image with the lungs blanked out",
}
_WORDS: Final = {
    METADATA: "metadata",
    STATISTICS: "image statistics",
    BORDERS: "the border",
    MASKED: "what surrounds the lungs",
}
_MEANING: Final = (
    "a model can be accurate on this test split without looking at the lungs. Its accuracy says "
    "how well it tells these groups of images apart; it is no estimate of clinical accuracy."
)
_NAMED: Final = 3
# More classes that a column tells from the rest are counted, not named.
_CLASSES_NAMED: Final = 6


def findings(
    duplicates: Mapping[str, Any], patients: Mapping[str, Any], shortcuts: Sequence[Shortcut]
) -> list[Finding]:
    """Write a sentence or two a finding, each about LEAKS or SHORTCUTS.

    Args:
        duplicates: as `leaks.duplicates` returns them.
        patients: as `leaks.patients` returns them.
        shortcuts: as `measure_shortcuts` returns them.
    """
    found = (
        (LEAKS, _leaks(duplicates, patients)),
        (SHORTCUTS, _shortcuts(shortcuts)),
    )
    return [Finding(about, weight, sentence) for about, said in found for weight, sentence in said]


def _leaks(
    duplicates: Mapping[str, Any], patients: Mapping[str, Any]
) -> Iterator[tuple[Weight, str]]:
    if pairs := duplicates["across_splits"]:
        yield (
            Weight.DOUBT,
            f"{counted(pairs, 'pair')} of near-duplicate images {_lie(pairs)} in two splits: a "
            "model may remember an image that it is judged by.",
        )
    else:
        yield Weight.RECORD, "No near-duplicate images were found in two splits."
    if pairs := duplicates["probably_wrong_patient_ids"]:
        listed = [*duplicates["pairs_across_splits"], *duplicates["pairs_within_a_split"]]
        ids = [
            " and ".join(sorted(image["patient"] for image in pair["images"]))
            for pair in listed
            if pair["patients_differ"]
        ]
        distinct = list(dict.fromkeys(ids))
        more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
        yield (
            Weight.NOTICE,
            f"{counted(pairs, 'pair')} of near-duplicate images {'has' if pairs == 1 else 'have'} "
            "different patient ids, which are probably one person's: "
            f"{'; '.join(distinct[:_NAMED])}{more}.",
        )
    if torn := patients["across_splits"]:
        yield Weight.DOUBT, f"{counted(torn, 'patient')} {_lie(torn)} in two splits."
    elif patients["known"]:
        yield Weight.RECORD, "No patient is in two splits."
    if unknown := patients["images_without_patient"]:
        yield (
            Weight.NOTICE,
            f"{counted(unknown, 'image')} without a patient id: whether their patients are in two "
            "splits can't be known.",
        )


def _lie(count: int) -> str:
    return "lies" if count == 1 else "lie"


def _shortcuts(shortcuts: Sequence[Shortcut]) -> Iterator[tuple[Weight, str]]:
    if not shortcuts:
        yield (
            Weight.NOTICE,
            "Shortcuts were not measured: there is no test image, or no second class.",
        )
        return
    all_classes = [s for s in shortcuts if s.against_rest is None]
    telling = [s for s in all_classes if s.above_chance and s.seen != WHOLE]
    for shortcut in telling:
        yield (
            Weight.NOTICE,
            f"{_named(shortcut)} predicts the class of {_figures(shortcut)}.",
        )
    against_rest = list(_most_telling_columns(shortcuts))
    if len(against_rest) > _CLASSES_NAMED:
        against_rest.sort(key=lambda one: one.chance - one.accuracy)
    for shortcut in against_rest[:_CLASSES_NAMED]:
        yield (
            Weight.NOTICE,
            f"{_named(shortcut)} tells {shortcut.against_rest} from the other classes in "
            f"{_figures(shortcut)}.",
        )
    if (more := len(against_rest) - _CLASSES_NAMED) > 0:
        yield (
            Weight.NOTICE,
            f"A column tells {'one more class' if more == 1 else f'{more} more classes'} from the "
            "other ones; audit.json has them all.",
        )
    if not telling and not against_rest:
        yield (
            Weight.RECORD,
            "Nothing was found that predicts the class better than guessing without the lungs: "
            "neither metadata, image statistics, the border nor the image without its lungs.",
        )
        return
    for shortcut in all_classes:
        if shortcut.seen == WHOLE:
            yield (
                Weight.RECORD,
                f"For comparison, from the whole image at the same size: {_figures(shortcut)}.",
            )
    yield Weight.DOUBT, _meaning(telling)


def _meaning(telling: Sequence[Shortcut]) -> str:
    """Say what it comes to, with the name of each that predicts the class, the best first."""
    best_first = sorted(telling, key=lambda shortcut: -shortcut.correct)
    columns = [column for shortcut in best_first if (column := column_of(shortcut.seen))]
    rest = [shortcut.seen for shortcut in telling if not column_of(shortcut.seen)]
    # The columns say more than that metadata do.
    names = columns + [_WORDS[seen] for seen in rest if seen != METADATA or not columns]
    if not names:
        return _MEANING[0].upper() + _MEANING[1:]
    *first, last = names
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"On this data {listed} predict{'' if first else 's'} the class, so {_MEANING}"


def _most_telling_columns(shortcuts: Sequence[Shortcut]) -> Iterator[Shortcut]:
    """Find for each class the column that tells it best from the rest, if any does."""
    best: dict[str, Shortcut] = {}
    for shortcut in shortcuts:
        name = shortcut.against_rest
        if name is None or column_of(shortcut.seen) is None or not shortcut.above_chance:
            continue
        if name not in best or shortcut.correct > best[name].correct:
            best[name] = shortcut
    yield from best.values()


def _named(shortcut: Shortcut) -> str:
    column = column_of(shortcut.seen)
    return f"{column} alone" if column else _SEEN[shortcut.seen]


def _figures(shortcut: Shortcut) -> str:
    low, high = shortcut.wilson95
    return (
        f"{shortcut.correct} of {shortcut.total} test images ({percent(shortcut.accuracy)}, 95 % "
        f"interval {percent(low)} to {percent(high)}; guessing: {percent(shortcut.chance)})"
    )
