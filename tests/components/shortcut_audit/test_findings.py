"""The sentences, and the limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import prepare_environment
from components.radiograph_example_gen.manifest import Entry

prepare_environment()

from components.shortcut_audit.findings import LEAKS, SHORTCUTS, findings  # noqa: E402
from components.shortcut_audit.leaks import patients  # noqa: E402
from components.shortcut_audit.limits import Limits, failures  # noqa: E402
from components.shortcut_audit.shortcuts import (  # noqa: E402
    BORDERS,
    MASKED,
    METADATA,
    STATISTICS,
    WHOLE,
    Shortcut,
    column_shortcut,
)
from schema.findings import Weight  # noqa: E402

NO_DUPLICATES: dict[str, Any] = {
    "across_splits": 0,
    "probably_wrong_patient_ids": 0,
    "pairs_across_splits": [],
    "pairs_within_a_split": [],
}
MEANING = (
    "a model can be accurate on this test split without looking at the lungs. Its accuracy says "
    "how well it tells these groups of images apart; it is no estimate of clinical accuracy."
)
SOURCE_AND_AGE = "On this data age_group and source predict"
NO_PATIENTS = {"known": 3, "images_without_patient": 0, "across_splits": 0}


def _said(*found: Any) -> list[str]:
    return [finding.sentence for finding in findings(*found)]


def _shortcut(seen: str, correct: int, above: bool, against_rest: str | None = None) -> Shortcut:
    return Shortcut(seen, against_rest, correct, 129, correct / 129, (0.582, 0.742), 1 / 3, above)


def test_a_finding_gives_its_figures_and_what_it_means() -> None:
    found = [
        _shortcut(METADATA, 43, False),
        _shortcut(column_shortcut("source"), 86, True),
        _shortcut(WHOLE, 118, True),
        _shortcut(column_shortcut("view"), 100, True, "COVID-19"),
        _shortcut(column_shortcut("source"), 129, True, "COVID-19"),
        _shortcut(column_shortcut("source"), 86, False, "Normal"),
    ]
    figures = "95 % interval 58.2 % to 74.2 %; guessing: 33.3 %)"
    assert _said(NO_DUPLICATES, NO_PATIENTS, found) == [
        "No near-duplicate images were found in two splits.",
        "No patient is in two splits.",
        f"source alone predicts the class of 86 of 129 test images (66.7 %, {figures}.",
        "source alone tells COVID-19 from the other classes in 129 of 129 test images "
        f"(100.0 %, {figures}.",
        "For comparison, from the whole image at the same size: 118 of 129 test images "
        f"(91.5 %, {figures}.",
        f"On this data source predicts the class, so {MEANING}",
    ]


@pytest.mark.parametrize(
    ("seen", "beginning"),
    [
        ([METADATA], "On this data metadata predict"),
        ([METADATA, column_shortcut("age_group"), column_shortcut("source")], SOURCE_AND_AGE),
        (
            [column_shortcut("source"), STATISTICS, BORDERS, MASKED],
            "On this data source, image statistics, the border and what surrounds the lungs "
            "predict",
        ),
    ],
)
def test_the_last_sentence_names_what_predicts_the_class(seen: list[str], beginning: str) -> None:
    found = [_shortcut(name, 86, True) for name in seen]
    *_, last = _said(NO_DUPLICATES, NO_PATIENTS, found)
    assert last == f"{beginning}{'s' if len(seen) == 1 else ''} the class, so {MEANING}"


def test_what_tells_one_class_only_is_not_said_to_predict_the_class() -> None:
    found = [_shortcut(column_shortcut("view"), 129, True, "COVID-19")]
    *_, last = _said(NO_DUPLICATES, NO_PATIENTS, found)
    assert last == f"A{MEANING[1:]}"


def test_each_has_a_name_of_its_own() -> None:
    kinds = (METADATA, column_shortcut("age"), STATISTICS, BORDERS, MASKED, WHOLE)
    found = [_shortcut(seen, 1, False, rest) for seen in kinds for rest in (None, "COVID-19")]
    names = [shortcut.name for shortcut in found]
    assert len(set(names)) == len(names)
    assert names[2:4] == ["metadata: age", "metadata: age, COVID-19 or not"]


def test_where_nothing_is_above_chance_that_is_said_and_no_more() -> None:
    found = [_shortcut(BORDERS, 50, False), _shortcut(WHOLE, 118, True)]
    *_, last = said = _said(NO_DUPLICATES, NO_PATIENTS, found)
    assert len(said) == 3
    assert last.startswith("Nothing was found that predicts the class better than guessing")


def test_without_a_test_image_it_is_said_that_nobody_looked() -> None:
    assert _said(NO_DUPLICATES, NO_PATIENTS, [])[-1].startswith("Shortcuts were not measured")


def test_pairs_with_two_patient_ids_name_them() -> None:
    pair = {"images": [{"patient": "b"}, {"patient": "a"}], "patients_differ": True}
    duplicates = NO_DUPLICATES | {
        "across_splits": 1,
        "probably_wrong_patient_ids": 2,
        "pairs_across_splits": [pair],
        "pairs_within_a_split": [pair, pair | {"patients_differ": False}],
    }
    first, second, *_ = _said(duplicates, NO_PATIENTS, [])
    assert first.startswith("1 pair of near-duplicate images lies in two splits")
    assert second.endswith("different patient ids, which are probably one person's: a and b.")


def test_patients_in_two_splits_are_listed_with_their_images() -> None:
    rows = [("1", "p", "train"), ("2", "p", "test"), ("3", "q", "eval"), ("4", "", "test")]
    entries = [Entry(file, "Normal", patient, file, split) for file, patient, split in rows]
    found = patients(entries)
    assert found == {
        "known": 2,
        "images_without_patient": 1,
        "across_splits": 1,
        "listed": [{"patient": "p", "images": {"test": ["2"], "train": ["1"]}}],
    }
    assert _said(NO_DUPLICATES, found, [])[1:3] == [
        "1 patient lies in two splits.",
        "1 image without a patient id: whether their patients are in two splits can't be known.",
    ]


def test_what_puts_the_accuracy_in_doubt_weighs_most() -> None:
    duplicates = NO_DUPLICATES | {"across_splits": 2}
    torn = {"known": 3, "images_without_patient": 5, "across_splits": 1}
    telling = [_shortcut(STATISTICS, 86, True), _shortcut(WHOLE, 118, True)]
    weights = [(one.about, int(one.weight)) for one in findings(duplicates, torn, telling)]
    leaks = [(LEAKS, 2), (LEAKS, 2), (LEAKS, 1)]
    # One is seen, one is for comparison, and one says what it means.
    assert weights == [*leaks, (SHORTCUTS, 1), (SHORTCUTS, 0), (SHORTCUTS, 2)]
    nothing = findings(NO_DUPLICATES, NO_PATIENTS, [_shortcut(BORDERS, 50, False)])
    assert {one.weight for one in nothing} == {Weight.RECORD}


@given(
    limits=st.builds(
        Limits,
        st.none() | st.integers(0, 3),
        st.none() | st.integers(0, 3),
        st.none() | st.sampled_from([0.0, 43 / 129, 0.5, 1.0]),
    ),
    duplicates=st.integers(0, 4),
    patient_count=st.integers(0, 4),
    correct=st.integers(0, 129),
)
def test_a_limit_fails_where_it_is_exceeded_and_only_there(
    limits: Limits, duplicates: int, patient_count: int, correct: int
) -> None:
    measured = [_shortcut(BORDERS, correct, False), _shortcut(WHOLE, 129, True)]
    expected = [
        f"audit.{field}"
        for field, value in (
            ("max_duplicates_across_splits", duplicates),
            ("max_patients_across_splits", patient_count),
            ("max_shortcut_accuracy", correct / 129),
        )
        if (limit := getattr(limits, field)) is not None and value > limit
    ]
    found = failures(limits, duplicates, patient_count, measured)
    assert [phrase.split("(")[-1].rstrip(")") for phrase in found] == expected


@pytest.mark.parametrize(
    ("shortcut", "fails"),
    [
        (_shortcut(METADATA, 129, True), True),
        (_shortcut(STATISTICS, 129, True), False),
        (_shortcut(METADATA, 129, True, "Normal"), False),
    ],
)
def test_the_limit_is_on_metadata_border_and_masked_lungs(shortcut: Shortcut, fails: bool) -> None:
    assert bool(failures(Limits(max_shortcut_accuracy=0.9), 0, 0, [shortcut])) is fails


def test_what_could_not_be_measured_is_not_within_its_limit() -> None:
    (phrase,) = failures(Limits(max_shortcut_accuracy=1.0), 0, 0, [])
    assert "audit.max_shortcut_accuracy" in phrase
