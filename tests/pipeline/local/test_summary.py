"""The numbers of a run's summary and of a model card."""

from __future__ import annotations

import pytest

from common.runtime import prepare_environment

prepare_environment()

from common.intervals import wilson95  # noqa: E402
from components.evaluator.results import abstaining  # noqa: E402


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # The intervals of the paper's accuracies on its 129 test images.
    [(122, 129, 0.892, 0.973), (127, 129, 0.945, 0.996)],
)
def test_wilson_intervals_of_the_papers_models(
    correct: int, total: int, low: float, high: float
) -> None:
    assert [round(end, 3) for end in wilson95(correct, total)] == [low, high]


def test_wilson_interval_of_all_and_of_none() -> None:
    """In closed form: n / (n + z²), and nothing beyond 0 and 1."""
    edge = 129 / (129 + 1.959964**2)
    assert wilson95(129, 129) == pytest.approx([edge, 1], abs=1e-6)
    assert wilson95(0, 129) == pytest.approx([0, 1 - edge], abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "judged_at", "coverage", "accuracy"),
    [
        (0.0, 0.0, 1.0, 0.75),
        (0.5, 0.5, 0.5, 1.0),
        (0.45, 0.5, 0.5, 1.0),  # between two: the stricter
        (0.51, 1.0, 0.0, None),
        (2.0, None, 0.0, None),  # abstains from everything
    ],
)
def test_abstaining_is_judged_on_the_test_splits_curve(
    threshold: float, judged_at: float | None, coverage: float, accuracy: float | None
) -> None:
    curve = [(0.0, 4, 3), (0.4, 4, 3), (0.5, 2, 2), (1.0, 0, 0)]
    assert abstaining(threshold, curve) == {
        "threshold": threshold,
        "judged_at": judged_at,
        "coverage": coverage,
        "accuracy": accuracy,
    }
