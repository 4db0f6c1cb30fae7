"""The numbers of a run's summary."""

from __future__ import annotations

import pytest

from pipeline.runtime import prepare_environment

prepare_environment()

from pipeline.summary import wilson95  # noqa: E402


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
