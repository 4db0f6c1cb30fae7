"""Cases (a) and (b) as they are, on phantoms and with a backbone that takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import paper
from benchmarks.training.stock import pipeline as stock
from pipeline.runtime import scratch_below

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_the_papers_recipe_is_timed_epoch_by_epoch(
    tiny_backbone: str, phantom_folder: Path, tmp_path: Path
) -> None:
    import keras

    fit = keras.Model.fit
    measured = paper.measure(tiny_backbone, phantom_folder, tmp_path / "run", None, True, 0)

    assert len(measured["epochs"]) == paper.EPOCHS
    assert min(measured["epochs"]) > 0
    assert sum(measured["epochs"]) < measured["nodes"][f"Trainer.{tiny_backbone}"]
    assert keras.Model.fit is fit


def test_the_stock_pipeline_trains_evaluates_and_sees_the_same_test_split(
    tiny_backbone: str, phantom_folder: Path, tmp_path: Path
) -> None:
    settings = stock.Settings(
        data=phantom_folder,
        output=tmp_path,
        backbones=(tiny_backbone,),
        weights_dir=None,
        random_weights=True,
        epochs=1,
        seed=3,
    )
    with scratch_below(tmp_path):
        reached = stock.run(settings)

    # 30 images of the smallest class: six of each class are for the test.
    assert reached["images"] == {tiny_backbone: 18}
    accuracy = reached["accuracy"][tiny_backbone]
    assert 0 <= accuracy <= 1
    assert accuracy * 18 == pytest.approx(round(accuracy * 18), abs=1e-4)
    assert {"Transform", f"Trainer.{tiny_backbone}", f"Pusher.{tiny_backbone}"} <= set(
        reached["nodes"]
    )
