"""Which model is taken: the lowest log loss, or the cheapest that can't be told from it."""

from __future__ import annotations

import numpy as np

from models.choice import choose
from models.predictions import Predictions
from schema import contract

COUNT = 200


def _model(
    losses: np.ndarray, multiply_adds: int, *, first: int = 0, folds: int = 0
) -> Predictions:
    """A model with these losses on the images from `first` on, all of class 0."""
    sure = np.exp(-losses)
    return Predictions(
        tuple(f"{number:064x}" for number in range(first, first + len(losses))),
        np.zeros(len(losses), int),
        {contract.FLAT: np.stack([sure, 1 - sure], axis=1)},
        multiply_adds,
        folds,
    )


def _losses(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.5, COUNT)


def test_the_lowest_loss_wins_whatever_it_costs() -> None:
    models = {"costly": _model(_losses(), 900), "cheap": _model(_losses() + 0.001, 1)}
    assert choose(models) == "costly"


def test_the_cheap_one_wins_where_the_difference_is_within_its_standard_error() -> None:
    noise = np.random.default_rng(1).normal(size=COUNT)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 0.01
    error = 0.01 / np.sqrt(COUNT)
    for share, winner in ((0.9, "cheap"), (1.1, "costly")):
        models = {
            "costly": _model(_losses(), 900),
            "cheap": _model(_losses() + share * error + noise, 1),
            "hopeless": _model(_losses() + 1, 0),
        }
        assert choose(models, "cheap") == winner
        assert choose(models) == "costly"


def test_the_difference_counts_image_by_image_and_not_the_spread_of_the_losses() -> None:
    """The losses themselves vary a hundred times as much."""
    models = {"costly": _model(_losses(), 900), "cheap": _model(_losses() + 0.002, 1)}
    assert choose(models, "cheap") == "costly"


def test_of_equals_the_cheaper_and_then_the_first() -> None:
    same = {name: _model(_losses(), cost) for name, cost in (("b", 1), ("a", 2), ("c", 1))}
    assert choose(same) == choose(same, "cheap") == "b"
    assert choose({}) is None


def test_one_judged_out_of_fold_is_compared_on_the_images_of_one_held_out() -> None:
    held_out = _losses()[150:]
    crossed = np.concatenate([np.full(150, 3.0), held_out - 0.01])
    models = {
        "crossed": _model(crossed, 1, folds=5),
        "held out": _model(held_out, 1, first=150),
    }
    assert choose(models) == "crossed"
