"""Which gap is called the largest."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.runtime import prepare_environment

prepare_environment()

from components.report.judgement import share  # noqa: E402
from components.report.slices import TOO_SMALL, largest_gap  # noqa: E402


def _row(feature: str, value: str, right: int, images: int) -> dict[str, Any]:
    return {
        "feature": feature,
        "value": value,
        "images": images,
        "accuracy": share(right, images),
        "too_small": images < TOO_SMALL,
    }


def test_the_largest_gap_is_between_groups_that_can_be_judged() -> None:
    gap = largest_gap(
        [
            _row("class", "COVID-19", 43, 43),
            _row("class", "Normal", 10, 43),
            _row("sex", "F", 30, 30),
            _row("sex", "M", 20, 40),
            _row("sex", "unknown", 0, 40),
            _row("view", "PA", 1, TOO_SMALL - 1),
            _row("view", "AP", 99, 99),
        ]
    )
    assert gap is not None
    assert (gap["feature"], gap["worst"]["value"], gap["best"]["value"]) == ("sex", "M", "F")
    assert gap["points"] == pytest.approx(0.5)
    assert gap["significant"]
    assert "20 of 40 images of sex M are right" in gap["words"]
    assert "more than chance" in gap["words"]


def test_a_gap_of_few_images_can_be_chance() -> None:
    gap = largest_gap([_row("sex", "F", 19, 20), _row("sex", "M", 20, 20)])
    assert gap is not None and not gap["significant"]
    assert "can be chance" in gap["words"]


def test_no_gap_is_said_so() -> None:
    gap = largest_gap([_row("sex", "F", 20, 20), _row("sex", "M", 30, 30)])
    assert gap is not None
    assert gap["words"].startswith("No gap")


def test_one_group_has_nothing_to_compare_with() -> None:
    assert largest_gap([_row("sex", "F", 30, 30), _row("sex", "M", 3, 3)]) is None
