"""Distances and intervals: they hold what they promise, by chance and by count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.watch.statistics import adjusted, expected_right, of_numbers, of_texts, weighted_share


def test_one_source_is_rarely_apart() -> None:
    draw = np.random.default_rng(0)
    p_values = [
        of_numbers(draw.normal(size=60).tolist(), draw.normal(size=150).tolist()).p
        for _ in range(400)
    ]
    # p below 0.05 in 5 % of the cases at most; four standard deviations beyond.
    assert np.mean(np.array(p_values) < 0.05) < 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_words_of_one_source_are_rarely_apart() -> None:
    draw = np.random.default_rng(0)
    words = ["PA", "AP", "L"]
    p_values = [
        of_texts(draw.choice(words, 50).tolist(), draw.choice(words, 150).tolist()).p
        for _ in range(400)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_another_source_is_apart_and_the_distance_is_tfdvs() -> None:
    found = of_texts(["AP"] * 30 + ["PA"] * 10, ["PA"] * 90 + ["AP"] * 10)
    assert found.value == pytest.approx(0.65)
    assert found.p < 1e-10
    assert of_numbers([1.0] * 20, [2.0] * 20).value == 1.0


def test_what_is_always_the_same_is_no_distance() -> None:
    assert (of_texts(["PA"] * 5, ["PA"] * 50).value, of_texts(["PA"], ["PA"]).p) == (0.0, 1.0)
    assert of_numbers([299.0] * 40, [299.0] * 300).p == 1.0


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_adjusted_is_holms(p_values: dict[str, float]) -> None:
    found = adjusted(p_values)
    least = min(p_values, key=lambda name: p_values[name])
    assert found[least] == pytest.approx(min(1.0, len(p_values) * p_values[least]))
    # No smaller than before, no larger than Bonferroni's, and in the same order.
    for name, p in p_values.items():
        assert p <= found[name] <= min(1.0, len(p_values) * p) + 1e-12
    ordered = sorted(p_values, key=lambda name: (p_values[name], found[name]))
    assert [found[name] for name in ordered] == sorted(found.values())


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=60))
def test_the_interval_holds_the_share_that_it_promises(confidences: list[float]) -> None:
    mean, low, high = expected_right(confidences, 0.9)
    assert mean == pytest.approx(np.mean(confidences))
    assert 0 <= low <= high <= 1
    draw = np.random.default_rng(0)
    shares = (draw.random((4000, len(confidences))) < np.array(confidences)).mean(axis=1)
    inside = np.mean((shares >= low - 1e-9) & (shares <= high + 1e-9))
    assert inside > 0.9 - 4 * (0.09 / 4000) ** 0.5


def test_equal_chances_are_binomial() -> None:
    _, low, high = expected_right([0.8] * 50)
    assert (low * 50, high * 50) == pytest.approx(stats.binom.interval(0.95, 50, 0.8))


def test_many_images_have_the_interval_of_the_normal() -> None:
    chances = np.random.default_rng(0).uniform(0.6, 1.0, 5001).tolist()
    mean, low, high = expected_right(chances)
    _, exact_low, exact_high = expected_right(chances[:5000])
    assert mean == pytest.approx(np.mean(chances))
    assert (low, high) == pytest.approx((exact_low, exact_high), abs=3e-4)


def test_a_weighted_share_is_right_on_average_where_the_plain_one_is_not() -> None:
    """Of 1,000 images 100 are hard, half of which are right; the others all are."""
    draw = np.random.default_rng(0)
    right = np.array([True, False] * 50 + [True] * 900)
    covered, found = 0, []
    for _ in range(300):
        hard, easy = draw.choice(100, 40, replace=False), 100 + draw.choice(900, 40, replace=False)
        share, low, high = weighted_share(
            right[np.concatenate([hard, easy])].tolist(), [100 / 40] * 40 + [900 / 40] * 40
        )
        found.append(share)
        covered += low <= 0.95 <= high
    assert np.mean(found) == pytest.approx(0.95, abs=0.003)
    assert covered / 300 >= 0.95


def test_equal_weights_are_clopper_and_pearsons_interval() -> None:
    share, low, high = weighted_share([True] * 18 + [False] * 2, [3.0] * 20)
    exact = stats.binomtest(18, 20).proportion_ci(0.95, "exact")
    assert (share, low, high) == pytest.approx((0.9, exact.low, exact.high))
    assert weighted_share([True] * 5, [2.0] * 5)[::2] == (1.0, 1.0)
