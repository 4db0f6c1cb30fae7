"""Ratios and goals from made-up measurements."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.training import arithmetic
from benchmarks.training.arithmetic import Goal

BOTH = ("vgg16", "densenet121")
# The table has 80 and 100 epochs: 80 × 20 s + 100 × 10 s = 2,600 s.
MEASURED: dict[str, dict[str, Any]] = {
    "a.vgg16": {"epochs": [35.0, 20.0]},
    "a.densenet121": {"epochs": [90.0, 10.0]},
    "b": {"seconds": 260.0, "accuracy": {"vgg16": 0.90, "densenet121": 0.92}},
    "c": {"seconds": 52.0, "accuracy": {"vgg16": 0.98, "densenet121": 0.94}},
    "d": {"seconds": 61.0, "accuracy": {"vgg16": 0.98, "densenet121": 0.94}},
    "e": {"seconds": 8.0, "accuracy": {"vgg16": 0.98, "densenet121": 0.94}},
}


def test_the_first_epoch_with_its_tracing_is_not_counted() -> None:
    assert arithmetic.paper_seconds([100.0, 10.0], 80) == 800.0
    assert arithmetic.paper_seconds([100.0, 10.0, 20.0], 80) == 1200.0


def test_the_papers_recipe_is_all_its_backbones_with_the_tables_epochs() -> None:
    assert arithmetic.seconds_of("a", MEASURED, BOTH) == 2600.0
    assert arithmetic.seconds_of("a", MEASURED, ["vgg16"]) == 1600.0


def test_where_a_backbone_or_a_case_is_missing_there_is_no_number() -> None:
    assert arithmetic.seconds_of("a", MEASURED, ("vgg16", "xception")) is None
    assert arithmetic.seconds_of("b", {}, BOTH) is None
    assert arithmetic.times_faster("c", "a", MEASURED, ("vgg16", "xception")) is None
    assert arithmetic.goals({}, BOTH) == []


@pytest.mark.parametrize(("beside", "ratio"), [("a", 50.0), ("b", 5.0)])
def test_times_faster_is_their_seconds_over_ours(beside: str, ratio: float) -> None:
    assert arithmetic.times_faster("c", beside, MEASURED, BOTH) == ratio


def test_the_papers_accuracies_are_those_of_its_confusion_matrices() -> None:
    given = {name: round(100 * share, 2) for name, share in arithmetic.PAPER_ACCURACY.items()}
    assert given == {"vgg16": 94.57, "xception": 95.35, "densenet121": 98.45}
    assert arithmetic.accuracy_of("a", MEASURED) is arithmetic.PAPER_ACCURACY


def test_each_goal_is_judged_by_its_own_bound() -> None:
    by_what = {goal.what: goal for goal in arithmetic.goals(MEASURED, BOTH)}
    assert by_what == {
        goal.what: goal
        for goal in (
            Goal("(c) faster than (a)", "50×", "50.0×", True),
            Goal("(c) as accurate as (a), mean of the backbones", "96.51%", "96.00%", False),
            Goal("(c) faster than (b)", "5×", "5.0×", True),
            Goal("(c) as accurate as (b), mean of the backbones", "91.00%", "96.00%", True),
            Goal("(c) under", "240 s", "52.0 s", True),
            Goal("(d) under", "60 s", "61.0 s", False),
            Goal("(e) under", "20 s", "8.0 s", True),
        )
    }


def test_a_little_too_slow_is_missed() -> None:
    slower = MEASURED | {"c": MEASURED["c"] | {"seconds": 52.1}}
    met = {goal.what: goal.met for goal in arithmetic.goals(slower, BOTH)}
    assert not met["(c) faster than (a)"]
    assert not met["(c) faster than (b)"]
