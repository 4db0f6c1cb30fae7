"""What is judged out of fold, and fitted to everything in the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.backbones import get_backbone
from models.boundary import CutNetwork
from models.calibration import apply_temperature
from models.convex import History
from models.cross_validation import assign_folds
from models.heads import apply_head
from models.hyperparameters import TrainingParams
from models.refit import with_folds
from models.training import Task, Trained, fit_head, train
from models.training_data import ImageTaps, TapData, read_image_taps
from schema import contract

Taps = dict[str, np.ndarray]
Store = Callable[..., list[str]]
TinyCut = Callable[..., CutNetwork]
CHANNELS = {"block1": 12, "last": 24}
# Images of the train and the validation split; patients have two each.
TRAIN, EVAL = 48, 24


def _taps(count: int, seed: int, signal: float) -> tuple[Taps, np.ndarray]:
    """Taps of three classes, whose means lie `signal` standard deviations apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    taps = {name: rng.normal(size=(count, n)).astype(np.float32) for name, n in CHANNELS.items()}
    for values in taps.values():
        values[np.arange(count), labels] += signal
    return taps, labels


def _groups(split: str, count: int) -> list[str]:
    """Of rows 0 and 3, 1 and 4, 2 and 5, 6 and 9: neighbours of one class."""
    return [f"{split} {row // 6} {row % 3}" for row in range(count)]


def _params(**fields: Any) -> TrainingParams:
    recipe = {"epochs": 60, "augmentations": ["identity"], "head": {"l2": 0.01}} | fields
    return TrainingParams.model_validate(recipe).resolved(get_backbone("tiny"))


@pytest.fixture(scope="module")
def files(module_store: Store) -> tuple[list[str], list[str]]:
    """Features of both splits, of classes that overlap."""
    return (
        module_store("train", *_taps(TRAIN, 1, 0.8), groups=_groups("train", TRAIN)),
        module_store("eval", *_taps(EVAL, 2, 0.8), groups=_groups("eval", EVAL)),
    )


@pytest.fixture(scope="module")
def trained(tiny_cut: TinyCut, files: tuple[list[str], list[str]]) -> Trained:
    """A flat and a hierarchical head, judged out of fold."""
    return train(
        tiny_cut("head"), _params(), Task(3, 1), train_files=files[0], eval_files=files[1], seed=3
    )


@pytest.fixture(scope="module")
def images(tiny_cut: TinyCut, files: tuple[list[str], list[str]]) -> ImageTaps:
    """The taps of all images."""
    return read_image_taps(tiny_cut("head"), _params(), [*files[0], *files[1]])


def _answers(head: keras.Model, taps: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(apply_head(head, taps, training=False), np.float64)


def test_every_image_of_both_splits_is_judged_by_a_head_that_has_not_seen_its_patient(
    trained: Trained, images: ImageTaps
) -> None:
    answers = trained.predictions
    assert answers.folds == trained.validation["folds"] == 5
    assert answers.sha256 == images.sha256 == tuple(sorted(images.sha256))
    assert len(answers.sha256) == trained.validation["total"] == TRAIN + EVAL
    assert set(answers.probabilities) == {contract.FLAT, contract.HIERARCHICAL}
    folds = assign_folds(images.labels, images.groups, 3)
    temperature = trained.classifier.heads[contract.FLAT].temperature
    for fold in (0, 4):
        fitted, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        assert not {images.groups[i] for i in fitted} & {images.groups[i] for i in asked}
        taps = images.split(fitted, asked)
        head, _ = fit_head(_params(), 3, taps, 3)
        expected = apply_temperature(_answers(head, taps.validation[0]), temperature)
        np.testing.assert_allclose(answers.probabilities["flat"][asked], expected, atol=1e-6)


def test_the_finished_heads_are_fitted_to_both_splits(trained: Trained, images: ImageTaps) -> None:
    everything = np.arange(TRAIN + EVAL)
    taps = images.split(everything, everything)
    head, history = fit_head(_params(), 3, taps, 3)
    finished = trained.classifier.heads[contract.FLAT]
    np.testing.assert_allclose(
        _answers(finished.model, taps.validation[0]), _answers(head, taps.validation[0]), atol=1e-6
    )
    assert trained.history["loss"][: len(history["loss"])] == history["loss"]
    # It knows these images, so it answers them better than what judges it.
    own = trained.predictions.of_finished_model[contract.FLAT]
    expected = apply_temperature(_answers(head, taps.validation[0]), finished.temperature)
    np.testing.assert_allclose(own, expected, atol=1e-6)
    known = (own.argmax(axis=1) == images.labels).mean()
    assert trained.validation["accuracy"] < known
    assert trained.validation["loss"] == pytest.approx(trained.predictions.losses().mean())


def test_curves_are_of_the_last_fit_and_out_of_fold(trained: Trained) -> None:
    history = trained.history
    assert set(history) == {
        contract.HISTORY_ITERATION, "loss", "accuracy", "val_loss", "val_accuracy",
    }  # fmt: skip
    assert len({len(values) for values in history.values()}) == 1
    assert history["val_loss"][0] == pytest.approx(math.log(3))
    uncalibrated = trained.validation["accuracy"]
    assert history["val_accuracy"][-1] == pytest.approx(uncalibrated)


def test_a_fit_that_ended_stays_where_it_is() -> None:
    def history(*losses: float) -> History:
        steps = [float(step) for step in range(len(losses))]
        return {"iteration": steps, "loss": list(losses), "val_loss": [v + 1 for v in losses]}

    whole = with_folds(history(3, 2), [(1, history(3, 1, 0)), (3, history(4, 3))])
    assert whole == {
        "iteration": [0, 1, 2],
        "loss": [3, 2, 2],
        "val_loss": [0.25 * 4 + 0.75 * 5, 0.25 * 2 + 0.75 * 4, 0.25 * 1 + 0.75 * 4],
    }


def test_the_same_comes_out_whatever_the_order_of_the_records(
    tiny_cut: TinyCut, files: tuple[list[str], list[str]], trained: Trained
) -> None:
    """The validation split first, in other batches, by another seed before."""
    keras.utils.set_random_seed(77)
    turned = train(
        tiny_cut("head"),
        _params(batch_size=7),
        Task(3, 1),
        train_files=files[1],
        eval_files=files[0],
        seed=3,
    )
    assert turned.predictions.sha256 == trained.predictions.sha256
    for name, expected in trained.predictions.probabilities.items():
        np.testing.assert_allclose(turned.predictions.probabilities[name], expected, atol=1e-6)


def test_other_augmentations_are_fitted_and_never_judged(tiny_cut: TinyCut, store: Store) -> None:
    """Mirrors are of one class all: what was fitted to them alone would say so."""
    taps, labels = _taps(24, 1, 2.0)
    doubled = {name: np.repeat(values, 2, axis=0) for name, values in taps.items()}
    for values in doubled.values():
        values[1::2] += 100.0
    names = np.repeat(np.arange(24), 2).tolist()
    augmentations = ["identity", "mirror"] * 24
    mixed = store("mixed", doubled, np.repeat(labels, 2).tolist(), augmentations, images=names)
    # Of the validation split, there may be no other augmentations.
    plain = store("plain", *_taps(12, 2, 2.0))
    params = _params(augmentations=["identity", "mirror"])
    images = read_image_taps(tiny_cut("head"), params, [*mixed, *plain])
    assert len(images.images) == 48 + 12
    assert len(images.sha256) == 36
    data = images.split(np.arange(30), np.arange(30, 36))
    assert len(data.training[1]) == np.isin(images.images, np.arange(30)).sum()
    assert len(data.validation[1]) == 6
    assert data.validation[0]["last"].max() < 50 < data.training[0]["last"].max()
    trained = train(tiny_cut("head"), params, Task(3), train_files=mixed, eval_files=plain, seed=0)
    assert trained.validation["total"] == 36
    standardise = trained.classifier.heads["flat"].model.get_layer("standardise_last")
    expected = np.concatenate([doubled["last"], _taps(12, 2, 2.0)[0]["last"]]).mean(axis=0)
    np.testing.assert_allclose(np.ravel(standardise.mean), expected, rtol=1e-4)


def test_it_is_logged_out_of_fold(
    tiny_cut: TinyCut, files: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    train(
        tiny_cut("head"),
        _params(epochs=3),
        Task(3),
        train_files=files[0],
        eval_files=files[1],
        seed=0,
        log_dir=str(tmp_path),
    )
    for split in ("train", "validation"):
        assert len(list((tmp_path / split).glob("events.out.tfevents.*"))) == 1


def test_taps_are_selected_in_their_order(images: ImageTaps) -> None:
    data = images.select(["last"]).split(np.arange(6), np.arange(2))
    assert isinstance(data, TapData)
    assert data.channels() == {"last": 24}
