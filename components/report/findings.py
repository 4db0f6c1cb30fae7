"""All that was found, in groups, what matters most first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.words import counted, listed, number
from schema.class_tables import MOST_COLUMNS
from schema.findings import Finding, Weight, heaviest_first

MODELS: Final = "Models and the gate"
DATA: Final = "Data and splits"
SHORTCUTS: Final = "Shortcuts"
SLICES: Final = "Slices"
DRIFT: Final = "Drift"
NOT_KNOWN: Final = "What this run could not know"
GROUPS: Final = (MODELS, DATA, SHORTCUTS, SLICES, DRIFT, NOT_KNOWN)
# Of a group, so many are seen at once; the others are folded.
SHOWN_FINDINGS: Final = 4

# Where the audit's findings stand, by what they are about.
_OF_AUDIT: Final = {"leaks": DATA, "shortcuts": SHORTCUTS, "table": SHORTCUTS}


def grouped(main: str, refused: str | None, numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Collect what was found, by GROUPS.

    Args:
        main: the champion, else the most accurate model.
        refused: why nothing is pushed; None where the champion is.
        numbers: see `components.report.content`.

    Returns:
        Of each group that has any: `group`, and `findings`, the heaviest first, each as
        `Finding.as_json` has it.
    """
    found = [
        *_of_models(main, refused, numbers),
        *_of_audit(numbers["audit"]),
        *_of_data(numbers["data"]),
        *_of_slices(numbers["models"][main]),
        *_of_drift(numbers),
        *_not_known(numbers["data"]["summary"]["remarks"]),
    ]
    by_group = {
        group: heaviest_first([one for one in found if one.about == group]) for group in GROUPS
    }
    return [
        {"group": group, "findings": [one.as_json() for one in findings]}
        for group, findings in by_group.items()
        if findings
    ]


def _of_models(main: str, refused: str | None, numbers: Mapping[str, Any]) -> Iterator[Finding]:
    models = numbers["models"]
    passed = [name for name, model in models.items() if model["blessed"]]
    for name, model in models.items():
        if not model["blessed"]:
            reason = model["refused_because"] or "the evaluation gives no reason"
            weight = Weight.DOUBT if name == main else Weight.NOTICE
            yield Finding(MODELS, weight, f"The gate refused {name}: {reason}.")
    if refused and passed:
        yield Finding(MODELS, Weight.DOUBT, f"Nothing is pushed: {refused}.")
    yield from _of_tables(models)
    if passed:
        which = f"All {len(models)} models" if len(passed) == len(models) > 1 else listed(passed)
        yield Finding(MODELS, Weight.RECORD, f"{which} passed the gate.")
    yield from _beside(models, "paper", "Beside the paper", "Fisher's exact test")
    yield from _beside(models, "baseline", "Beside the baselines", "McNemar's test")
    yield from _against_each_other(numbers["pairs"])


def _of_tables(models: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Say what the table adds to the image, and from how many patients that is known."""
    for name, model in models.items():
        compared = model.get("table") or {}
        if compared.get("sentence"):
            weight = Weight.DOUBT if model.get("not_to_push") else Weight.NOTICE
            yield Finding(MODELS, weight, f"{name}: {compared['sentence']}")
        if compared.get("few_patients"):
            yield Finding(MODELS, Weight.DOUBT, f"{name}: {compared['few_patients']}")


def _beside(
    models: Mapping[str, Mapping[str, Any]], key: str, beside: str, test: str
) -> Iterator[Finding]:
    known = {name: model[key] for name, model in models.items() if model[key]}
    different = [name for name, other in known.items() if other["significant"]]
    if different:
        verb = "differs" if len(different) == 1 else "differ"
        yield Finding(
            MODELS,
            Weight.NOTICE,
            f"{beside}: {listed(different)} {verb} by more than chance would make it "
            f"({test}, 5 %).",
        )
    elif known:
        yield Finding(
            MODELS,
            Weight.RECORD,
            f"{beside}: no difference of {listed(list(known))} is more than chance would make it "
            f"({test}, 5 %).",
        )


def _against_each_other(pairs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    different = [f"{pair['first']} and {pair['second']}" for pair in pairs if pair["significant"]]
    if different:
        yield Finding(
            MODELS,
            Weight.NOTICE,
            f"Significantly different on the same images (McNemar): {'; '.join(different)}.",
        )
    elif pairs:
        yield Finding(
            MODELS,
            Weight.NOTICE,
            "No two models differ significantly on these images (McNemar's test, 5 %): which of "
            "them came out first is within chance.",
        )


def _of_audit(audit: Mapping[str, Any] | None) -> Iterator[Finding]:
    if audit is None:
        yield Finding(
            DATA,
            Weight.NOTICE,
            "Near-duplicate images and shortcuts were not looked for: there was no audit.",
        )
        return
    # An audit from before they were weighed has the sentences alone.
    weighed = audit.get("weighed") or [
        {"about": "shortcuts", "weight": Weight.NOTICE, "sentence": sentence}
        for sentence in audit["findings"]
    ]
    for one in weighed:
        yield Finding(_OF_AUDIT[one["about"]], Weight(one["weight"]), one["sentence"])


def _of_data(data: Mapping[str, Any]) -> Iterator[Finding]:
    deviations = data["summary"]["deviations"]
    for one in deviations[:MOST_COLUMNS]:
        yield Finding(
            DATA,
            Weight.NOTICE,
            f"{one['class_name']}, {one['split']}: {one['got']} instead of {one['wanted']} images "
            f"({one['reason']}).",
        )
    if (more := len(deviations) - MOST_COLUMNS) > 0:
        yield Finding(
            DATA,
            Weight.NOTICE,
            f"{more} more such {'count is' if more == 1 else 'counts are'} in report.json.",
        )
    if left_out := len(data["left_out"]):
        yield Finding(
            DATA,
            Weight.RECORD,
            f"{counted(left_out, 'file')} {'was' if left_out == 1 else 'were'} left out; the "
            "reasons are under Data.",
        )


def _of_slices(model: Mapping[str, Any]) -> Iterator[Finding]:
    gap = model["largest_gap"]
    if gap is None:
        yield Finding(
            SLICES,
            Weight.RECORD,
            "No kind of group has two that are large enough to compare.",
        )
        return
    yield Finding(SLICES, Weight.NOTICE if gap["significant"] else Weight.RECORD, gap["words"])


def _of_drift(numbers: Mapping[str, Any]) -> Iterator[Finding]:
    if span := numbers["span_drift"]:
        if span["previous"] is None:
            yield Finding(
                DRIFT,
                Weight.RECORD,
                f"Span {span['span']} has none before it to compare with.",
            )
        else:
            yield _distances(
                f"Span {span['span']} against span {span['previous']}", span["features"]
            )
    for against, rows in numbers["drift"].items():
        if rows is None:
            yield Finding(
                DRIFT,
                Weight.RECORD,
                "There is no earlier run with other images to compare with.",
            )
        else:
            yield _distances(
                "This train split against the previous run's"
                if against == "previous"
                else f"The {against} split against train",
                rows,
            )


def _distances(title: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
    apart: dict[str, float] = {}
    for row in rows:
        if row["noticeable"]:
            apart[row["feature"]] = max(row["value"], apart.get(row["feature"], 0))
    if not apart:
        return Finding(DRIFT, Weight.RECORD, f"{title}: nothing is noticeably apart.")
    shown = listed([f"{feature} ({number(value)})" for feature, value in apart.items()])
    verb = "is" if len(apart) == 1 else "are"
    return Finding(
        DRIFT,
        Weight.NOTICE,
        f"{title}: noticeably apart {verb} {shown}, by TFDV's distance from 0 to 1.",
    )


def _not_known(remarks: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    for remark in remarks:
        yield Finding(
            NOT_KNOWN, Weight.NOTICE, f"{remark['topic'].capitalize()}: {remark['sentence']}."
        )
    if not remarks:
        yield Finding(NOT_KNOWN, Weight.RECORD, "Nothing was found missing.")
