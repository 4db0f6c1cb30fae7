"""Confidence intervals of shares, by trial and by group."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.intervals import wilson, wilson_by_group


@given(st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_groups_of_one_trial_are_no_groups(right: list[int]) -> None:
    found = wilson_by_group(np.array(right), np.ones(len(right), np.int64))
    assert list(found) == wilson(sum(right), len(right))


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 9))
def test_trials_that_repeat_each_other_count_once(right: int, groups: int, size: int) -> None:
    """Where a group's trials all have one outcome, they say no more than one of them."""
    outcomes = np.arange(groups) < min(right, groups)
    low, high = wilson_by_group(size * outcomes, np.full(groups, size))
    once = wilson(int(outcomes.sum()), groups)
    assert low <= once[0] + 1e-9
    assert high >= once[1] - 1e-9
    if groups in (1, outcomes.sum()):
        np.testing.assert_allclose([low, high], once, atol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=20))
def test_an_interval_by_group_is_never_narrower(pairs: list[tuple[int, int]]) -> None:
    total = np.array([size for _, size in pairs])
    correct = np.minimum([right for right, _ in pairs], total)
    low, high = wilson_by_group(correct, total)
    alone = wilson(int(correct.sum()), int(total.sum()))
    assert 0 <= low <= alone[0] + 1e-9
    assert alone[1] - 1e-9 <= high <= 1
