"""Case (a): which run is started, and which of its epochs are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.training import paper
from models.backbones import get_backbone
from pipeline import local_runner
from pipeline.config.pipeline_config import PipelineConfig


class Run:
    """In the place of `cxr run`'s: fits a head, and then a network, which takes longer.

    Attributes:
        configs: that it was given.
        now: seconds, by its own clock.
    """

    def __init__(self) -> None:
        self.configs: list[PipelineConfig] = []
        self.now = 0.0

    def __call__(self, config: PipelineConfig, _: object) -> dict[str, Any]:
        """Fit both."""
        import keras

        self.configs.append(config)

        def fit(epochs: int, seconds: float) -> None:
            def take(*_: object) -> None:
                self.now += seconds

            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.compile(loss="mse")
            own = keras.callbacks.LambdaCallback(on_epoch_end=take)
            data = np.zeros((1, 1))
            model.fit(data, data, epochs=epochs, verbose=0, callbacks=[own])

        fit(3, 1.0)
        fit(config.training_for("vgg16").epochs, 20.0)
        return {"seconds": {"Trainer.vgg16": self.now}}


def test_the_papers_recipe_is_timed_epoch_by_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    run, fit = Run(), keras.Model.fit
    monkeypatch.setattr(local_runner, "run", run)
    monkeypatch.setattr(paper, "time", SimpleNamespace(perf_counter=lambda: run.now))
    measured = paper.measure("vgg16", tmp_path, tmp_path / "run", None, True, 5)

    # Not the head's, and with what other callbacks took.
    assert measured == {"epochs": [20.0, 20.0], "nodes": {"Trainer.vgg16": 43.0}}
    assert keras.Model.fit is fit

    (config,) = run.configs
    recipe, training = get_backbone("vgg16").paper, config.training_for("vgg16")
    assert (training.epochs, training.precision) == (paper.EPOCHS, "float32")
    assert (training.learning_rate, training.batch_size, training.boundary) == (
        recipe.learning_rate,
        recipe.batch_size,
        "input",
    )
    assert (config.data.dir, config.output, config.seed) == (tmp_path, tmp_path / "run", 5)
    assert config.backbones == ("vgg16",)
    assert (config.allow_random_weights, config.enable_cache) == (True, False)
    assert config.gate.min_accuracy == 0.0
    assert config.weights_dir is None


def test_weights_are_handed_on_and_a_fit_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    configs: list[PipelineConfig] = []

    def fails(config: PipelineConfig, _: object) -> None:
        configs.append(config)
        raise RuntimeError("broken off")

    fit = keras.Model.fit
    monkeypatch.setattr(local_runner, "run", fails)
    with pytest.raises(RuntimeError, match="broken off"):
        paper.measure("vgg16", tmp_path, tmp_path / "run", tmp_path / "weights", False, 0)
    assert keras.Model.fit is fit
    assert configs[0].weights_dir == tmp_path / "weights"
    assert not configs[0].allow_random_weights
