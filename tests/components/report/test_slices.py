"""Which gap is called the largest."""

from __future__ import annotations

from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

from components.report.data_figures import columns  # noqa: E402
from components.report.drawing import MOST_VALUES, style  # noqa: E402
from components.report.figures import slice_accuracies  # noqa: E402
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


def test_a_further_column_counts_like_the_others() -> None:
    gap = largest_gap(
        [
            _row("class", "COVID-19", 43, 43),
            _row("sex", "F", 30, 30),
            _row("sex", "M", 29, 30),
            _row("scanner", "A", 10, 40),
            _row("scanner", "B", 40, 40),
        ]
    )
    assert gap is not None
    assert (gap["feature"], gap["worst"]["value"]) == ("scanner", "A")
    assert "10 of 40 images of scanner A are right" in gap["words"]


def test_a_figure_leaves_out_what_there_is_no_room_for() -> None:
    """Of a column with a value for each image, only what can be judged is drawn."""
    many = [_row("md5", f"m{number}", 1, 1) for number in range(MOST_VALUES)]
    judged = [_row("md5", "same", 20, TOO_SMALL), _row("sex", "F", 3, 3)]
    with style():
        drawn = slice_accuracies([*many, *judged], "vgg16").alt
        assert "sex F 3 of 3" in drawn and "md5 same 20 of 20" in drawn and "m0" not in drawn
        assert "m0" in slice_accuracies(many, "vgg16").alt


def test_columns_with_too_many_values_are_named_instead_of_drawn() -> None:
    counts = {
        "md5": {str(number): {"a": 1, "b": 0} for number in range(MOST_VALUES + 1)},
        "unit": {"1": {"a": 1, "b": 2}, "2": {"a": 0, "b": 3}},
    }
    with style():
        drawn = columns(counts, ["a", "b"])
    assert "by unit," in drawn.alt
    assert drawn.caption.endswith("Not drawn, for its many values: md5.")


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
