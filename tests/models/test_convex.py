"""L-BFGS on heads: Keras' own loss and slope, scikit-learn's optimum, and what has no optimum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import convex, head_rows
from models.convex import History, Softmax
from models.fitting import fit_on_taps
from models.heads import apply_head, build_head, build_hierarchical_head, questions
from models.hyperparameters import HeadParams, TrainingParams
from models.training_data import TapData

Split = tuple[dict[str, np.ndarray], np.ndarray]
CHANNELS = {"block1": 8, "last": 12}
HEALTHY = 1
L2 = 0.01


def _split(count: int = 90, seed: int = 0, signal: float = 1.0, classes: int = 3) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    taps = {
        name: (3 + rng.normal(size=(count, channels)) * np.linspace(0.1, 20, channels))
        for name, channels in CHANNELS.items()
    }
    for values in taps.values():
        values[np.arange(count), labels] += signal * np.linspace(0.1, 20, values.shape[1])[labels]
    return {name: values.astype(np.float32) for name, values in taps.items()}, labels


def _head(
    split: Split, *, hierarchical: bool = False, seed: int = 0, l2: float = L2, classes: int = 3
) -> keras.Model:
    params, moments = HeadParams(l2=l2), TapData(split, split).moments()
    if hierarchical:
        return build_hierarchical_head(params, CHANNELS, classes, HEALTHY, moments, seed)
    return build_head(params, CHANNELS, classes, moments, seed)


def _fit(head: keras.Model, split: Split, **options: Any) -> History:
    given = {"l2": L2, "iterations": 500} | options
    beside = _split(30, 1, classes=head.output.shape[-1])
    return convex.fit(head, split, beside, **given)


def _answers(head: keras.Model, split: Split) -> np.ndarray:
    return apply_head(head, split[0], training=False).numpy().astype(np.float64)


def _standardised(split: Split) -> np.ndarray:
    joined = np.concatenate(list(split[0].values()), axis=1).astype(np.float64)
    return StandardScaler().fit_transform(joined)


def _reference(split: Split, asked: np.ndarray, labels: np.ndarray, l2: float) -> np.ndarray:
    """scikit-learn's answers to all rows, fitted on some.

    Of two classes it has one column of weights, ours has two of half the size: so half the
    penalty does the same.
    """
    weight = l2 / (2 if len(set(labels)) == 2 else 1)
    c = 1 / (2 * weight * asked.sum())
    rows = _standardised(split)
    model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(rows[asked], labels)
    return model.predict_proba(rows)


@pytest.mark.parametrize("hierarchical", [False, True])
def test_loss_and_slope_are_those_of_keras(hierarchical: bool) -> None:
    """At weights as they are drawn; of a hierarchical head, the sum over both layers."""
    split = _split()
    taps, labels = split
    head = _head(split, hierarchical=hierarchical)
    with tf.GradientTape() as tape:
        answers = apply_head(head, {name: tf.constant(values) for name, values in taps.items()})
        entropy = keras.losses.sparse_categorical_crossentropy(labels, answers)
        loss = tf.reduce_mean(entropy) + sum(head.losses)
    expected = [slope.numpy() for slope in tape.gradient(loss, head.trainable_variables)]

    total, slopes = 0.0, []
    for name, targets in questions(labels, HEALTHY if hierarchical else None).items():
        layer = head.get_layer(name)
        rows = keras.Model(head.input, layer.input)(taps).numpy()
        weights = np.vstack(layer.get_weights())
        part, slope = Softmax(rows, targets, L2).loss(weights.astype(np.float64).ravel())
        total += part
        slopes += [slope.reshape(weights.shape)[:-1], slope.reshape(weights.shape)[-1]]
    assert total == pytest.approx(loss.numpy(), rel=1e-5)
    for ours, theirs in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_slope_is_the_losss() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(-1, 3, 40)
    problem = Softmax(rng.normal(size=(40, 6)), targets, 0.1)
    weights = rng.normal(size=7 * 3)
    _, slope = problem.loss(weights)
    for place in range(len(weights)):
        step = np.zeros(len(weights))
        step[place] = 1e-6
        difference = problem.loss(weights + step)[0] - problem.loss(weights - step)[0]
        assert slope[place] == pytest.approx(difference / 2e-6, abs=1e-7)


# The fewer rows are fewer than the channels.
@pytest.mark.parametrize("count", [90, 15])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("l2", [0.3, L2, 1e-4])
def test_the_optimum_is_scikit_learns(l2: float, classes: int, count: int) -> None:
    split = _split(count, classes=classes)
    head = _head(split, l2=l2, classes=classes)
    _fit(head, split, l2=l2)
    expected = _reference(split, np.ones(count, bool), split[1], l2)
    assert np.ptp(expected) > 0.2
    assert np.abs(_answers(head, split) - expected).max() < 1e-4


def test_rows_that_say_the_same_twice_span_fewer_dimensions() -> None:
    """Mirrors of symmetric images: fewer dimensions than rows, and far fewer than channels."""
    taps, labels = _split(7)
    once = {name: values[:5] for name, values in taps.items()}
    taps = {name: np.concatenate([values, values[[1, 3]]]) for name, values in once.items()}
    labels = np.concatenate([labels[:5], labels[[1, 3]]])
    rows = np.concatenate([taps[name] for name in sorted(taps)], axis=1).astype(np.float64)
    span = head_rows.Span(rows)
    own = span.own_coordinates()
    assert span.is_of(rows.copy())
    assert not span.is_of(rows[::-1])
    assert own.shape == (7, 5)
    np.testing.assert_allclose(own @ own.T, rows @ rows.T, rtol=1e-9)
    np.testing.assert_allclose(span.coordinates(rows), own, rtol=0, atol=1e-6)
    kernel = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(rows @ span.from_coordinates(kernel), own @ kernel, atol=1e-6)
    head = _head((taps, labels))
    _fit(head, (taps, labels))
    assert np.isfinite(_answers(head, (taps, labels))).all()


def test_a_hierarchical_heads_layers_are_each_at_their_own_optimum() -> None:
    split = _split()
    labels = split[1]
    head = _head(split, hierarchical=True)
    _fit(head, split, healthy=HEALTHY)
    sick = labels != HEALTHY
    state = _reference(split, np.ones(90, bool), sick.astype(int), L2)
    # The mean is over all images, though the sick alone are asked which illness it is.
    illness = _reference(split, sick, labels[sick], L2 * 90 / sick.sum())
    expected = np.stack(
        [state[:, 1] * illness[:, 0], state[:, 0], state[:, 1] * illness[:, 1]], axis=1
    )
    assert np.abs(_answers(head, split) - expected).max() < 1e-4


def test_heads_on_the_same_rows_share_their_span(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    make = head_rows.Span.__init__

    def counted(self: head_rows.Span, rows: np.ndarray) -> None:
        found.append(len(rows))
        make(self, rows)

    monkeypatch.setattr(head_rows.Span, "__init__", counted)
    split = _split(15)
    alone = [_head(split), _head(split, hierarchical=True)]
    shared = [_head(split), _head(split, hierarchical=True)]
    spans = head_rows.Spans()
    for healthy, own, other in zip((None, HEALTHY), alone, shared, strict=True):
        _fit(own, split, healthy=healthy)
        _fit(other, split, healthy=healthy, spans=spans)
        np.testing.assert_array_equal(_answers(own, split), _answers(other, split))
    sick = int((split[1] != HEALTHY).sum())
    # The sick alone are asked which illness it is.
    assert sorted(found) == sorted([15, 15, sick, 15, sick])


def test_without_validation_rows_the_history_is_of_training_alone() -> None:
    split = _split()
    fitted, followed = _head(split), _head(split)
    history = convex.fit(fitted, split, None, l2=L2, iterations=50)
    assert set(history) == {"iteration", "loss", "accuracy"}
    _fit(followed, split, iterations=50)
    np.testing.assert_array_equal(_answers(fitted, split), _answers(followed, split))


def test_the_history_ends_with_what_keras_finds_in_the_head() -> None:
    split, beside = _split(), _split(30, 1)
    head = _head(split)
    history = _fit(head, split)
    assert set(history) == {"iteration", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["iteration"] == list(range(len(history["loss"])))
    assert history["loss"][0] == pytest.approx(math.log(3)), "it begins with no weights"
    assert (np.diff(history["loss"]) <= 0).all()
    head.compile(loss=keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    for prefix, (taps, labels) in (("", split), ("val_", beside)):
        found = head.evaluate(taps, labels, verbose=0, return_dict=True)
        for metric in ("loss", "accuracy"):
            assert history[f"{prefix}{metric}"][-1] == pytest.approx(found[metric], rel=1e-4)


@pytest.mark.parametrize("count", [90, 15])
def test_the_same_rows_give_the_same_bits_in_any_order_and_from_any_seed(count: int) -> None:
    taps, labels = _split(count)
    # Two rows that differ in their class alone.
    for values in taps.values():
        values[1] = values[0]
    labels[:2] = 0, 2
    order = np.random.default_rng(5).permutation(count)
    moved = {name: values[order] for name, values in taps.items()}, labels[order]
    heads = [_head((taps, labels), seed=seed) for seed in (0, 0, 1)]
    for head, split in zip(heads, ((taps, labels), (taps, labels), moved), strict=True):
        _fit(head, split)
    first, *others = ([weight.tobytes() for weight in head.get_weights()] for head in heads)
    assert others == [first, first]


@pytest.mark.parametrize("count", [90, 15])
def test_it_goes_on_from_where_it_was_and_comes_to_the_same(count: int) -> None:
    split, wider = _split(count), _split(count + 4, 4)
    head = _head(split)
    anew = _fit(head, split)
    again = _fit(head, split, continued=True)
    assert again["loss"][0] == pytest.approx(anew["loss"][-1], abs=1e-7)
    assert len(again["loss"]) < len(anew["loss"]) / 4
    other = _head(split)
    _fit(head, wider, continued=True)
    _fit(other, wider)
    assert np.abs(_answers(head, wider) - _answers(other, wider)).max() < 1e-4


def test_without_a_penalty_it_ends_where_nothing_is_left_to_gain() -> None:
    """These classes can be told apart, so the loss has no minimum."""
    split = _split(signal=6.0)
    head = _head(split, l2=0.0)
    history = _fit(head, split, l2=0.0)
    assert len(history["loss"]) < 100
    assert (history["accuracy"][-1], history["loss"][-1] < 1e-4) == (1.0, True)
    assert all(np.abs(weight).max() < 1e3 for weight in head.trainable_weights)


def test_it_stops_after_the_iterations_that_are_allowed() -> None:
    split = _split()
    assert _fit(_head(split), split, iterations=3)["iteration"] == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [90, 15])
def test_a_channel_that_no_row_moves_has_no_weight(count: int) -> None:
    split = _split(count)
    split[0]["last"][:, 4] = 0.1
    head = _head(split, seed=1)
    _fit(head, split)
    kernel, _ = head.get_layer("probabilities").get_weights()
    assert (kernel[CHANNELS["block1"] + 4] == 0).all()
    assert (kernel != 0).any(axis=1).sum() == sum(CHANNELS.values()) - 1


@pytest.mark.parametrize("poisoned", ["training", "validation"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_feature_that_is_no_number_is_said(poisoned: str, value: float) -> None:
    splits = {"training": _split(), "validation": _split(30, 1)}
    head = _head(splits["training"])
    splits[poisoned][0]["last"][3, 3] = value
    with pytest.raises(FloatingPointError, match=f"diverged: .* of the {poisoned} rows"):
        convex.fit(head, splits["training"], splits["validation"], l2=L2, iterations=5)


@pytest.mark.parametrize(
    ("head", "healthy", "solved"),
    [
        ({}, None, True),
        ({"dropout": 0.2}, None, False),
        ({"kind": "paper", "width": 8}, None, False),
        ({}, HEALTHY, True),
        # Beside the paper's head, the hierarchical one is a regularised one all the same.
        ({"kind": "paper", "width": 8}, HEALTHY, True),
    ],
)
def test_what_is_random_or_not_convex_stays_with_keras(
    head: dict[str, Any], healthy: int | None, solved: bool
) -> None:
    split = _split()
    given = HeadParams.model_validate(head | {"l2": L2})
    moments = TapData(split, split).moments()
    if healthy is None:
        model = build_head(given, CHANNELS, 3, moments, 0)
    else:
        model = build_hierarchical_head(given, CHANNELS, 3, healthy, moments, 0)
    params = TrainingParams(head=given, epochs=2)
    history = fit_on_taps(model, split, split, params, seed=0, healthy=healthy)
    assert ("iteration" in history) == solved
    assert len(history["loss"]) == 2 + solved


def test_tensorboard_finds_what_keras_would_have_written(tmp_path: Path) -> None:
    split = _split()
    history = _fit(_head(split), split, log_dir=str(tmp_path))
    for folder, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(tmp_path / folder), {"tensors": 0}).Reload()
        for metric in ("loss", "accuracy"):
            found = events.Tensors(f"epoch_{metric}")
            assert [event.step for event in found] == history["iteration"]
            values = [tf.make_ndarray(event.tensor_proto) for event in found]
            np.testing.assert_allclose(values, history[f"{prefix}{metric}"], rtol=1e-6)


def test_a_question_that_no_validation_image_asks_does_no_harm() -> None:
    """Where all are healthy, none says which illness it is."""
    split, (taps, labels) = _split(), _split(30, 1)
    healthy = taps, np.full_like(labels, HEALTHY)
    head = _head(split, hierarchical=True)
    history = convex.fit(head, split, healthy, l2=L2, iterations=50, healthy=HEALTHY)
    assert history["val_accuracy"][-1] == 0.0
    assert np.isfinite(history["val_loss"]).all()


def test_heads_on_the_same_rows_read_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    compute = head_rows.rows_of

    def counted(model: keras.Model, taps: head_rows.Taps, split: str) -> np.ndarray:
        read.append(len(next(iter(taps.values()))))
        return compute(model, taps, split)

    monkeypatch.setattr(head_rows, "rows_of", counted)
    split, other = _split(15), _split(14)
    spans = head_rows.Spans()
    for healthy in (None, HEALTHY):
        _fit(_head(split, hierarchical=healthy is not None), split, healthy=healthy, spans=spans)
    assert read == [15]
    # Of the same images, but standardised by others; and other images.
    _fit(_head(other), split, spans=spans)
    assert read == [15, 15]
    _fit(_head(split), other, spans=spans)
    assert read == [15, 15, 14]


def test_rows_are_sorted_by_all_their_bytes_and_then_by_their_targets() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((12, 2 * head_rows._FIRST), np.float32)
    # The first channels tell none from another; the last rows are each there twice.
    rows[:8, -1] = rng.normal(size=8)
    rows[8:] = rows[4:8]
    targets = rng.integers(0, 3, 12)
    by_bytes = sorted(range(12), key=lambda i: (rows[i].tobytes(), targets[i], i))
    sorted_rows = head_rows.Rows(rows)
    np.testing.assert_array_equal(sorted_rows.order_for(targets), by_bytes)
    np.testing.assert_array_equal(sorted_rows.sorted, rows[by_bytes].astype(np.float64))
    told_apart = rng.normal(size=(12, 40)).astype(np.float32)
    first = sorted(range(12), key=lambda i: told_apart[i].tobytes())
    np.testing.assert_array_equal(head_rows.Rows(told_apart).order_for(targets), first)
