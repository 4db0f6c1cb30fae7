"""Case (b) as it is, on phantoms and with a backbone that takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training.stock import pipeline as stock
from common.runtime import scratch_below
from pipeline.phantoms import write_phantoms

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_the_stock_pipeline_trains_evaluates_and_sees_the_same_test_split(
    tiny_backbone: str, tmp_path: Path
) -> None:
    settings = stock.Settings(
        data=write_phantoms(tmp_path / "phantoms", (10, 10, 10), size=64, seed=7),
        output=tmp_path,
        backbones=(tiny_backbone,),
        weights_dir=None,
        random_weights=True,
        epochs=1,
        seed=3,
    )
    with scratch_below(tmp_path):
        reached = stock.run(settings)

    # Of ten images, two are for the test.
    assert reached["images"] == {tiny_backbone: 6}
    accuracy = reached["accuracy"][tiny_backbone]
    assert 0 <= accuracy <= 1
    assert accuracy * 6 == pytest.approx(round(accuracy * 6), abs=1e-4)
    assert {"Transform", f"Trainer.{tiny_backbone}", f"Pusher.{tiny_backbone}"} <= set(
        reached["nodes"]
    )
