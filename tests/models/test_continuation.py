"""From which weights a training starts, and why from none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.backbones import get_backbone
from models.boundary import CutNetwork
from models.continuation import (
    EarlierModel,
    NotContinuableError,
    Start,
    read_earlier,
    start_from,
)
from models.hyperparameters import TrainingParams
from models.training import Task, Trained, blank_heads, train
from schema import contract

CLASSES = ["ill", "well", "other"]
TASK = Task(3, 1)
TinyCut = Callable[..., CutNetwork]


def _params(**fields: Any) -> TrainingParams:
    return TrainingParams.model_validate(fields).resolved(get_backbone("tiny"))


def _earlier(network: CutNetwork, params: TrainingParams, seed: int = 5) -> EarlierModel:
    """A model of the same network whose trained weights are random."""
    random = np.random.default_rng(seed)
    trained = {id(variable) for variable in network.suffix.variables}
    weights = [
        random.normal(size=v.shape).astype(np.float32) if id(v) in trained else np.asarray(v)
        for v in network.maps.variables
    ]
    for head in blank_heads(network, params, TASK).values():
        weights += [
            random.normal(size=v.shape).astype(v.dtype) if v.trainable else np.asarray(v)
            for v in head.variables
        ]
    return EarlierModel(tuple(CLASSES), params.model_dump(mode="json"), weights)


def _start(earlier: EarlierModel, network: CutNetwork, params: TrainingParams) -> Any:
    return start_from(earlier, network, blank_heads(network, params, TASK), params, CLASSES)


@pytest.mark.parametrize(
    ("boundary", "dropout"), [("head", 0.0), ("head", 0.5), ("block2", 0.5), ("input", 0.0)]
)
def test_the_weights_are_put_where_they_were(
    boundary: str, dropout: float, tiny_cut: TinyCut
) -> None:
    network, params = tiny_cut(boundary), _params(boundary=boundary, head={"dropout": dropout})
    earlier = _earlier(network, params)
    start = _start(earlier, network, params)
    start.put_into_suffix(network)
    heads = blank_heads(network, params, TASK)
    assert set(heads) == {contract.FLAT, contract.HIERARCHICAL}
    for name, head in heads.items():
        start.put_into_head(name, head)
    parts = [network.maps.variables, *(head.variables for head in heads.values())]
    flat = [variable for part in parts for variable in part]
    for variable, value in zip(flat, earlier.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)


@dataclass(frozen=True)
class Fitting:
    """An earlier model that fits, and what it fits to; nobody may train it."""

    earlier: EarlierModel
    network: CutNetwork
    heads: dict[str, Any]
    params: TrainingParams


@pytest.fixture(scope="module")
def fitting(tiny_cut: TinyCut) -> Fitting:
    """At boundary `block2`."""
    network, params = tiny_cut("block2"), _params(boundary="block2")
    earlier, heads = _earlier(network, params), blank_heads(network, params, TASK)
    assert start_from(earlier, network, heads, params, CLASSES)
    return Fitting(earlier, network, heads, params)


def _with_other_frozen_weights(earlier: EarlierModel) -> EarlierModel:
    return replace(earlier, weights=[earlier.weights[0] + 1, *earlier.weights[1:]])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda e: replace(e, classes=("well", "ill", "other")), "its classes are well, ill"),
        (lambda e: replace(e, recipe=e.recipe | {"boundary": "input"}), "its boundary is 'input'"),
        (lambda e: replace(e, recipe=e.recipe | {"scaling": "unit"}), "its scaling is 'unit'"),
        (
            lambda e: replace(e, recipe=e.recipe | {"head": {"kind": "paper"}}),
            r"its head\.kind is 'paper', and now it is 'regularised'",
        ),
        (lambda e: replace(e, recipe={}), "its boundary is None"),
        (lambda e: replace(e, weights=e.weights[:-1]), "its weights have other shapes"),
        (_with_other_frozen_weights, "it stands on other pre-trained weights"),
    ],
)
def test_what_does_not_fit_is_said(
    change: Callable[[EarlierModel], EarlierModel], why: str, fitting: Fitting
) -> None:
    with pytest.raises(NotContinuableError, match=why):
        start_from(change(fitting.earlier), fitting.network, fitting.heads, fitting.params, CLASSES)


def test_a_training_goes_on_from_where_it_starts(
    tiny_cut: TinyCut, store: Callable[..., list[str]]
) -> None:
    """With a rate of next to nothing, what comes out is what was put in."""
    random = np.random.default_rng(1)
    taps = {
        name: random.normal(size=(24, channels)).astype(np.float32)
        for name, channels in {"block1": 12, "last": 24}.items()
    }
    # With dropout, Keras fits both heads.
    params = _params(learning_rate=1e-12, epochs=1, head={"dropout": 0.5})
    network = tiny_cut("head")
    earlier = _earlier(network, params)
    files = store("features", taps, [n % 3 for n in range(24)])
    trained = train(
        network,
        params,
        TASK,
        train_files=files,
        eval_files=files,
        seed=0,
        start=_start(earlier, network, params),
    )
    heads = [trained.classifier.heads[n].model for n in (contract.FLAT, contract.HIERARCHICAL)]
    found = [variable for head in heads for variable in head.variables]
    for variable, value in zip(found, earlier.weights[-len(found) :], strict=True):
        # The others are states of random generators.
        if variable.trainable:
            np.testing.assert_allclose(np.asarray(variable), value, atol=1e-6)


def test_a_solved_head_starts_at_the_earlier_models_weights(
    tiny_cut: TinyCut, store: Callable[..., list[str]]
) -> None:
    random = np.random.default_rng(1)
    taps = {
        name: random.normal(size=(24, channels)).astype(np.float32)
        for name, channels in {"block1": 12, "last": 24}.items()
    }
    network, params = tiny_cut("head"), _params()
    files = store("features", taps, [n % 3 for n in range(24)])

    def fit(start: Start | None) -> Trained:
        return train(
            network, params, TASK, train_files=files, eval_files=files, seed=0, start=start
        )

    anew = fit(None)
    weights = [
        *map(np.asarray, network.maps.variables),
        *(np.asarray(v) for head in anew.classifier.heads.values() for v in head.model.variables),
    ]
    earlier = EarlierModel(tuple(CLASSES), params.model_dump(mode="json"), weights)
    again = fit(_start(earlier, network, params))
    assert again.history["loss"][0] == pytest.approx(anew.history["loss"][-1], abs=1e-6)
    # No fold starts from weights that have seen its images.
    assert again.history["val_loss"][0] == anew.history["val_loss"][0]
    for name, answers in anew.predictions.probabilities.items():
        np.testing.assert_array_equal(
            again.predictions.probabilities[name].argmax(1), answers.argmax(1)
        )
    for name, answers in anew.predictions.own.items():
        np.testing.assert_allclose(again.predictions.own[name], answers, atol=1e-3)


def _save(folder: Path, weights: list[np.ndarray]) -> None:
    module = tf.Module()
    module.class_names = tf.Variable(CLASSES)
    module.weights = [tf.Variable(weight) for weight in weights]
    tf.saved_model.save(module, str(folder))


def test_a_saved_model_is_read_in_its_order(tmp_path: Path) -> None:
    weights = [np.full((1, n), float(n), np.float32) for n in range(1, 14)]
    _save(tmp_path / "model", weights)
    with pytest.raises(NotContinuableError, match="what it left can't be read"):
        read_earlier(str(tmp_path / "model"), str(tmp_path))
    (tmp_path / contract.TRAINING_FILE).write_text(json.dumps({"boundary": "head"}))
    earlier = read_earlier(str(tmp_path / "model"), str(tmp_path))
    assert (earlier.classes, earlier.recipe) == (tuple(CLASSES), {"boundary": "head"})
    assert [w.tolist() for w in earlier.weights] == [w.tolist() for w in weights]
    with pytest.raises(NotContinuableError, match="what it left can't be read"):
        read_earlier(str(tmp_path / "gone"), str(tmp_path))
