"""Columns that are outcomes, ids or sources, by their names."""

from __future__ import annotations

import pytest

from schema.outcomes import why_refused, words_of


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("death_offset", "outcome"), ("Survival", "outcome"), ("date_of_death", "outcome"),
        ("LengthOfStay", "outcome"), ("follow-up days", "outcome"), ("mortality30", "outcome"),
        ("went_icu", "afterwards"), ("intubated", "afterwards"), ("wentICU", "afterwards"),
        ("icu_release_offset", "afterwards"), ("discharge", "afterwards"),
        ("needed_supplemental_O2", "afterwards"), ("Überlebt", "outcome"),
        ("RT_PCR_positive", "finding"), ("finding", "finding"), ("Diagnosis", "finding"),
        ("patientid", "id"), ("Image ID", "id"), ("filename", "id"), ("MRN", "id"),
        ("source", "place"), ("Hospital", "place"), ("licence", "place"), ("doi", "id"),
        ("StudyDate", "date"), ("label", "finding"),
    ],
)  # fmt: skip
def test_names_that_are_refused(name: str, reason: str) -> None:
    assert reason in why_refused(name)


@pytest.mark.parametrize(
    "name",
    [
        *("crp_val", "d-dimer_val", "ldh_val", "pco2_val", "po2_offset", "pO2_saturation", "sex"),
        *("age", "temperature", "clinical_notes", "projection", "identification", "lymphocytes"),
        *("idle", "bmi", "smoker", "placebo", "update", "sitewide", "offset", "modality"),
    ],
)
def test_names_that_are_not(name: str) -> None:
    assert why_refused(name) == ""


def test_what_is_called_like_the_label_may_follow_from_it() -> None:
    assert "'sepsis'" in why_refused("sepsis_score", "sepsis_day")
    assert why_refused("crp_day", "sepsis_day") == "", "a word that says nothing"
    assert "column of the label" in why_refused("Sepsis-Day", "sepsis_day")


def test_words_are_split_at_signs_and_capitals() -> None:
    assert words_of("wentICU to-day_É2") == ["went", "icu", "to", "day", "e2"]
