"""What bfloat16 is unsure of is float32's to answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import contract
from serving.servables.careful_engine import ALLOWED, CarefulEngine, largest_logit_difference


class _Engine:
    """Answers with the images themselves, as they were or moved, and counts them."""

    def __init__(self, name: str, answers: np.ndarray) -> None:
        self.name = name
        self._answers = answers
        self.asked: list[int] = []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        rows = images.reshape(-1).astype(int)
        self.asked += rows.tolist()
        return {contract.FLAT: self._answers[rows].astype(np.float32)}


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _pair(p: np.ndarray) -> np.ndarray:
    return np.stack([p, 1 - p], axis=-1)


def _careful(fast: Any, exact: Any, difference: float) -> Any:
    return CarefulEngine(fast, exact, difference)


@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=30),
    st.floats(0.0, 0.4),
    st.sampled_from([-1.0, 1.0]),
)
def test_no_probability_is_further_off_than_allowed(
    logits: list[float], moved: float, sign: float
) -> None:
    true = np.array(logits)
    fast = _Engine("bf16", _pair(_sigmoid(true + sign * moved)))
    exact = _Engine("f32", _pair(_sigmoid(true)))
    images = np.arange(len(true), dtype=np.uint8).reshape(-1, 1, 1, 1)
    found = _careful(fast, exact, moved)(images)[contract.FLAT]
    assert np.abs(found - _pair(_sigmoid(true))).max() <= ALLOWED


def test_only_the_unsure_are_asked_again() -> None:
    answers = _pair(np.array([0.999, 0.6, 0.01, 0.45]))
    fast, exact = _Engine("bf16", answers), _Engine("f32", answers / 2)
    images = np.arange(4, dtype=np.uint8).reshape(-1, 1, 1, 1)
    careful = _careful(fast, exact, 0.2)
    found = careful(images)[contract.FLAT]
    assert careful.name == "bf16"
    assert (fast.asked, exact.asked) == ([0, 1, 2, 3], [1, 3])
    np.testing.assert_allclose(found[[1, 3]], answers[[1, 3]] / 2, rtol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], answers[[0, 2]], rtol=1e-6)
    careful(images[:1])
    assert exact.asked == [1, 3]


def test_a_model_that_is_sure_of_every_probe_is_not_trusted_with_what_it_is_unsure_of() -> None:
    answers = _pair(np.array([0.5]))
    fast, exact = _Engine("bf16", answers), _Engine("f32", answers)
    _careful(fast, exact, 0.0)(np.zeros((1, 1, 1, 1), np.uint8))
    assert exact.asked == [0]


def test_rounding_next_to_0_and_1_is_no_difference() -> None:
    sure, surer = np.array([[1.0, 0.0]]), np.array([[1 - 1e-6, 1e-6]])
    assert largest_logit_difference(surer, sure) == 0.0
    half = np.array([[0.5, 0.5]])
    moved = np.array([[0.6, 0.4]])
    assert largest_logit_difference(moved, half) == pytest.approx(np.log(1.5))
