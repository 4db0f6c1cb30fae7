"""The curves of a training: by epoch where Keras trained, by iteration where L-BFGS did."""

from __future__ import annotations

import re

from components.report import figures
from components.report.drawing import style

CURVES = {
    "loss": [1.1, 0.5, 0.4],
    "accuracy": [0.3, 0.9, 1.0],
    "val_loss": [1.1, 0.6, 0.7],
    "val_accuracy": [0.3, 0.8, 0.7],
}


def test_epochs_are_counted_from_one_and_the_lowest_validation_loss_is_kept() -> None:
    with style():
        drawn = figures.history("vgg16", CURVES)
    assert re.findall(r">(epoch|iteration)<", drawn.svg) == ["epoch", "epoch"]
    assert drawn.caption.endswith("Lowest validation loss in epoch 2, which is kept.")
    assert drawn.alt.startswith("Training curves of vgg16 over 3 epochs.")


def test_where_folds_judge_the_curves_say_so() -> None:
    with style():
        drawn = figures.history("vgg16", {"iteration": [0.0, 1.0, 2.0], **CURVES}, folds=5)
    assert re.findall(r">(fitted|out of fold|train|validation)<", drawn.svg) == [
        "fitted", "out of fold", "fitted", "out of fold",
    ]  # fmt: skip
    assert "out of fold (the mean of 5 folds)" in drawn.caption


def test_iterations_are_counted_from_the_start_and_the_last_is_kept() -> None:
    with style():
        drawn = figures.history("vgg16", {"iteration": [0.0, 1.0, 2.0], **CURVES})
    assert re.findall(r">(epoch|iteration)<", drawn.svg) == ["iteration", "iteration"]
    assert "The last iteration of L-BFGS" in drawn.caption
    assert "epoch" not in drawn.caption + drawn.alt
    assert drawn.alt.startswith("Training curves of vgg16 over 2 iterations.")
