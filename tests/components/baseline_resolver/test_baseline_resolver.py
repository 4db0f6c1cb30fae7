"""Which model becomes the baseline."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from tfx.types import standard_artifacts

from components.baseline_resolver import LatestOtherBlessedStrategy

Artifacts = dict[str, list[Any]]


def _model(number: int) -> Any:
    artifact = standard_artifacts.Model()
    artifact.id = number
    return artifact


def _blessing(number: int, *, of: int | None, blessed: bool = True) -> Any:
    """As Evaluator sets it; `of` is None where Evaluator had no threshold to check."""
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    if of is not None:
        artifact.set_int_custom_property("current_model_id", of)
        artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


def _resolve(inputs: Artifacts) -> dict[str, list[int]]:
    unused_store = mock.Mock(spec=[])
    resolved = LatestOtherBlessedStrategy().resolve_artifacts(unused_store, inputs)
    return {key: [artifact.id for artifact in found] for key, found in resolved.items()}


@pytest.mark.parametrize(
    ("candidates", "models", "blessings", "model", "blessing"),
    [
        pytest.param([3], [3], [], [], [], id="first run"),
        pytest.param([3], [3], [_blessing(9, of=3)], [], [], id="only the candidate"),
        pytest.param(
            [3], [1, 2, 3], [_blessing(7, of=1), _blessing(8, of=2)], [2], [8], id="latest"
        ),
        pytest.param(
            [3],
            [2, 1, 3],
            [_blessing(7, of=1), _blessing(8, of=2), _blessing(9, of=3)],
            [2],
            [8],
            id="latest that is not the candidate, in any order",
        ),
        pytest.param(
            [3],
            [1, 2, 3],
            [_blessing(7, of=1), _blessing(8, of=2, blessed=False)],
            [1],
            [7],
            id="not blessed",
        ),
        pytest.param([3], [1, 3], [_blessing(7, of=None)], [], [], id="never gated"),
        pytest.param([3], [1, 3], [_blessing(7, of=2)], [], [], id="blessing of a lost model"),
        pytest.param([], [], [], [], [], id="nothing at all"),
        pytest.param([], [1], [_blessing(7, of=1)], [1], [7], id="no candidate"),
    ],
)
def test_the_latest_other_blessed_model(
    candidates: list[int],
    models: list[int],
    blessings: list[Any],
    model: list[int],
    blessing: list[int],
) -> None:
    inputs = {
        "candidate": [_model(number) for number in candidates],
        "model": [_model(number) for number in models],
        "model_blessing": blessings,
    }
    assert _resolve(inputs) == {
        "candidate": candidates,
        "model": model,
        "model_blessing": blessing,
    }


def test_missing_keys_are_empty_lists() -> None:
    assert _resolve({}) == {"candidate": [], "model": [], "model_blessing": []}


def test_a_model_evaluated_twice_counts_if_it_was_blessed_once() -> None:
    """A rerun with a stricter gate doesn't take back what was pushed."""
    blessings = [_blessing(7, of=1), _blessing(8, of=1, blessed=False)]
    inputs = {"candidate": [_model(2)], "model": [_model(1)], "model_blessing": blessings}
    assert _resolve(inputs)["model"] == [1]
