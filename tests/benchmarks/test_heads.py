"""The bench of heads fits the same head in both ways, and L-BFGS comes lower."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from benchmarks import heads
from models.hyperparameters import TrainingParams


def test_both_ways_are_measured_and_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "TrainingParams", functools.partial(TrainingParams, epochs=5))
    heads.main(["--rows", "60", "--channels", "8", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Keras", "L-BFGS", "ratio"]
    assert "5 epochs" in lines[0]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines[:2]]
    assert losses[1] <= losses[0]


def test_features_are_the_seeds() -> None:
    first, again, other = (heads.draw(20, 8, seed)[0]["last"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, np.abs(first - other).max() > 0.1) == ((20, 8), True)
