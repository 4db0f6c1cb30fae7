"""The findings below the verdict: none is lost, each stands once, what matters most comes first."""

from __future__ import annotations

import re
from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

from components.report.findings import (  # noqa: E402
    DATA,
    DRIFT,
    GROUPS,
    MODELS,
    NOT_KNOWN,
    SHORTCUTS,
    SLICES,
)
from components.report.verdict import verdict  # noqa: E402
from components.report.verdict_lines import NOT_FOR_DIAGNOSIS  # noqa: E402
from components.shortcut_audit.findings import findings as audit_findings  # noqa: E402
from components.shortcut_audit.shortcuts import BORDERS, STATISTICS, WHOLE, Shortcut  # noqa: E402
from components.shortcut_audit.table_findings import ABOUT_TABLE  # noqa: E402
from schema.class_tables import MOST_COLUMNS  # noqa: E402
from tests.components.report.made_numbers import (  # noqa: E402
    audit,
    compared,
    model,
    numbers,
)

NEAR: dict[str, Any] = {
    "across_splits": 2,
    "probably_wrong_patient_ids": 1,
    "pairs_across_splits": [
        {"images": [{"patient": "a"}, {"patient": "b"}], "patients_differ": True}
    ],
    "pairs_within_a_split": [],
}
TORN = {"known": 3, "images_without_patient": 5, "across_splits": 1}
MEASURED = [
    Shortcut(seen, None, 86, 129, 86 / 129, (0.58, 0.74), 1 / 3, seen != BORDERS)
    for seen in (BORDERS, STATISTICS, WHOLE)
]
AUDITED = [one.as_json() for one in audit_findings(NEAR, TORN, MEASURED)]
GAP = {"significant": True, "words": "The largest gap is by sex."}
REMARKS = [
    {"topic": "patients", "sentence": "patients unknown"},
    {"topic": "ages", "sentence": "the age of 12 of 90 images is unknown"},
]
DEVIATION = {
    "class_name": "Normal", "split": "test", "got": 1, "wanted": 2, "reason": "few",
}  # fmt: skip


def _distance(feature: str, value: float) -> dict[str, Any]:
    return {"feature": feature, "measure": "L_INFTY", "value": value, "noticeable": value > 0.15}


def _full() -> dict[str, Any]:
    """A run in which everything was found."""
    models = {
        "vgg16": model(largest_gap=GAP, paper=compared(122, 129, 0.3)),
        "xception": model(baseline=compared(100, 129, 0.01), paper=compared(122, 129, 0.01)),
        "densenet121": model(blessed=False, refused_because="accuracy 0.5 is below 0.8; b"),
    }
    return numbers(
        models,
        audit=audit(2, weighed=AUDITED, passed=False, failures=["too much (audit.max)"]),
        pairs=[{"first": "vgg16", "second": "xception", "significant": True}],
        summary={"remarks": REMARKS, "deviations": [DEVIATION]},
        left_out=[{"path": "p", "kind": "k", "reason": "r"}],
        drift={
            "eval": [_distance("view", 0.4), _distance("age", 0.2), _distance("age", 0.3)],
            "test": [_distance("view", 0.1)],
            "previous": None,
        },
        span_drift={"span": 3, "previous": 2, "images": [9, 9], "features": []},
    )


def _groups(made: dict[str, Any]) -> dict[str, list[str]]:
    """Group -> sentences."""
    found = verdict("vgg16", made)["findings"]
    assert all(one["findings"] for one in found)
    for one in found:
        weights = [finding["weight"] for finding in one["findings"]]
        assert weights == sorted(weights, reverse=True), one["group"]
    return {one["group"]: [f["sentence"] for f in one["findings"]] for one in found}


# What a report said at its top and in its sections before there was a verdict.
SAID_BEFORE = {
    *(one["sentence"] for one in AUDITED),
    "The largest gap is by sex.",
    "Beside the paper: xception differs by more than chance would make it (Fisher's exact test, "
    "5 %).",
    "Significantly different on the same images (McNemar): vgg16 and xception.",
    "Patients: patients unknown.",
    "Ages: the age of 12 of 90 images is unknown.",
    "Normal, test: 1 instead of 2 images (few).",
}


def test_nothing_that_was_said_is_lost_and_nothing_is_said_twice() -> None:
    groups = _groups(_full())
    assert list(groups) == list(GROUPS)
    sentences = [sentence for found in groups.values() for sentence in found]
    assert len(set(sentences)) == len(sentences)
    new = {
        "The gate refused densenet121: accuracy 0.5 is below 0.8; b.",
        "Nothing is pushed: the audit found more than its limits allow: too much (audit.max).",
        "vgg16 and xception passed the gate.",
        "Beside the baselines: xception differs by more than chance would make it (McNemar's test, "
        "5 %).",
        "1 file was left out; the reasons are under Data.",
        "The eval split against train: noticeably apart are view (0.400) and age (0.300), by "
        "TFDV's distance from 0 to 1.",
        "The test split against train: nothing is noticeably apart.",
        "There is no earlier run with other images to compare with.",
        "Span 3 against span 2: nothing is noticeably apart.",
    }
    assert set(sentences) == SAID_BEFORE | new
    lines = [line["sentence"] for line in verdict("vgg16", _full())["lines"]]
    assert lines[1].startswith("110 of 129 test images are right")
    assert lines[-1].startswith(NOT_FOR_DIAGNOSIS)
    assert not set(lines) & set(sentences)


def test_what_matters_most_stands_first() -> None:
    groups = _groups(_full())
    assert groups[MODELS][0].startswith("Nothing is pushed")
    assert groups[DATA][0].startswith("2 pairs of near-duplicate images lie in two splits")
    assert groups[DATA][1] == "1 patient lies in two splits."
    assert groups[DATA][-1].startswith("1 file was left out")
    assert groups[SHORTCUTS][0].startswith("On this data image statistics predicts the class")
    assert groups[SHORTCUTS][-1].startswith("For comparison")
    assert groups[DRIFT][0].startswith("The eval split")


def test_a_run_of_which_there_is_nothing_to_say() -> None:
    assert _groups(numbers()) == {
        MODELS: ["vgg16 passed the gate."],
        SLICES: ["No kind of group has two that are large enough to compare."],
        NOT_KNOWN: ["Nothing was found missing."],
    }


def test_a_run_whose_models_were_refused_says_of_each_why() -> None:
    models = {
        "xception": model(blessed=False, refused_because="a"),
        "vgg16": model(blessed=False),
    }
    # The main one's reason first.
    assert _groups(numbers(models, champion=None))[MODELS] == [
        "The gate refused vgg16: the evaluation gives no reason.",
        "The gate refused xception: a.",
    ]


def test_no_significant_difference_is_a_finding() -> None:
    known: dict[str, Any] = {"paper": compared(122, 129, 0.3), "baseline": compared(122, 129, 0.3)}
    models = {"vgg16": model(**known), "xception": model(**known)}
    pairs = [{"first": "vgg16", "second": "xception", "significant": False}]
    found = _groups(numbers(models, pairs=pairs))[MODELS]
    assert found[0].startswith("No two models differ significantly on these images")
    assert "All 2 models passed the gate." in found
    for beside in ("Beside the paper", "Beside the baselines"):
        (one,) = [sentence for sentence in found if sentence.startswith(beside)]
        assert "no difference of vgg16 and xception is more than chance" in one


def test_without_an_audit_that_is_a_finding() -> None:
    (only,) = _groups(numbers(audit=None))[DATA]
    assert only.endswith("were not looked for: there was no audit.")


def test_an_audit_from_before_findings_were_weighed_loses_none() -> None:
    earlier = audit(weighed=AUDITED)
    del earlier["weighed"]
    found = _groups(numbers(audit=earlier))
    assert found[SHORTCUTS] == [one["sentence"] for one in AUDITED]


@pytest.mark.parametrize("more", [0, 1, 5])
def test_of_many_deviations_the_rest_is_counted(more: int) -> None:
    many = [DEVIATION | {"class_name": f"c{n}"} for n in range(MOST_COLUMNS + more)]
    found = _groups(numbers(summary={"deviations": many}))[DATA]
    assert sum("1 instead of 2" in sentence for sentence in found) == MOST_COLUMNS
    rest = [
        sentence for sentence in found if re.match(r"\d+ more such counts? (is|are) in", sentence)
    ]
    assert [int(sentence.split()[0]) for sentence in rest] == ([more] if more else [])


def test_a_first_span_has_none_before_it() -> None:
    first = {"span": 1, "previous": None}
    assert _groups(numbers(span_drift=first))[DRIFT] == [
        "Span 1 has none before it to compare with."
    ]


def test_what_the_audit_found_of_the_table_is_a_shortcut() -> None:
    said = {"about": ABOUT_TABLE, "weight": 2, "sentence": "Presence alone tells."}
    found = verdict("vgg16", numbers(audit=audit(weighed=[said])))["findings"]
    (group,) = [each for each in found if "Presence alone" in str(each)]
    assert group["group"] == SHORTCUTS
