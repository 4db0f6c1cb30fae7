"""A study beside the goals, from made-up figures."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.goals import goal_rows


def _model(*correct: int, loss: float = 0.03) -> dict[str, Any]:
    seeds = [{"correct": n, "total": 1000, "validation_loss": loss} for n in correct]
    return {
        "mean": sum(correct) / (1000 * len(correct)),
        "per_seed": seeds,
        "abstain": {"coverage": 0.95, "accuracy": 0.993},
    }


def test_a_goal_is_met_from_its_own_value_on() -> None:
    rows, met = goal_rows({"models": {"vgg16": _model(974, 976)}})
    assert met
    assert rows == [["vgg16", "test accuracy", "≥ 97.50 %", "97.50 % ± 0.10 %", "met"]]
    rows, met = goal_rows({"models": {"vgg16": _model(974, 975)}})
    assert not met
    assert rows[0][-1] == "**missed**"


@pytest.mark.parametrize(("loss", "met"), [(0.04, True), (0.0401, False)])
def test_a_log_loss_is_to_be_at_most_its_goal(loss: float, met: bool) -> None:
    rows, all_met = goal_rows({"models": {"fusion": _model(990, loss=loss)}})
    assert all_met == met
    assert rows[1][2:] == ["≤ 0.0400", f"{loss:.4f}", "met" if met else "**missed**"]


@pytest.mark.parametrize(("fusion", "met"), [(990, True), (993, False)])
def test_a_champion_is_held_against_the_best_candidate(fusion: int, met: bool) -> None:
    rows, all_met = goal_rows(
        {"models": {"fusion": _model(fusion), "vgg16": _model(980), "champion": _model(989)}}
    )
    assert all_met == met
    (row,) = (row for row in rows if row[1].startswith("behind"))
    assert row[1] == "behind fusion, the best candidate over the seeds"
    assert (row[-1] == "met") == met


@pytest.mark.parametrize(
    ("abstain", "met"),
    [
        ({"coverage": 0.95, "accuracy": 0.993}, [True, True]),
        ({"coverage": 0.949, "accuracy": 0.992}, [False, False]),
        ({"coverage": 0.0, "accuracy": None}, [False, False]),
    ],
)
def test_abstaining_is_counted_over_all_seeds(abstain: dict[str, Any], met: list[bool]) -> None:
    champion = _model(990) | {"abstain": abstain}
    rows, _ = goal_rows({"models": {"vgg16": _model(980), "champion": champion}})
    assert [row[-1] == "met" for row in rows[-2:]] == met
