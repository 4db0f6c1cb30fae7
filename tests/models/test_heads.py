"""Both heads: against scikit-learn, on degenerate input, and from a seed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.heads import apply_head, build_head, build_hierarchical_head
from models.hyperparameters import HeadParams

Taps = dict[str, np.ndarray]
CHANNELS = {"penultimate": 5, "last": 7}


def _moments(taps: Taps) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (values.mean(axis=0), values.var(axis=0)) for name, values in taps.items()}


def _taps(seed: int = 0, count: int = 6) -> Taps:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(count, channels)).astype(np.float32)
        for name, channels in CHANNELS.items()
    }


def _build(seed: int = 0, **params: Any) -> keras.Model:
    given = HeadParams(**{"l2": 0.007, **params})
    return build_head(given, CHANNELS, 3, _moments(_taps()), seed)


def _fit(head: keras.Model, taps: Taps, labels: np.ndarray, steps: int) -> None:
    """Full-batch Adam on cross-entropy and the head's own penalty, as `fit` would."""
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(head.trainable_variables)
    inputs = {name: tf.constant(values) for name, values in taps.items()}

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            entropy = keras.losses.sparse_categorical_crossentropy(labels, apply_head(head, inputs))
            loss = tf.reduce_mean(entropy) + sum(head.losses)
        gradients = tape.gradient(loss, head.trainable_variables)
        optimizer.apply(gradients, head.trainable_variables)
        return loss

    for at in range(steps):
        step()
        if at == steps * 3 // 4:
            optimizer.learning_rate.assign(0.005)


def test_the_regularised_head_is_scikit_learns_logistic_regression() -> None:
    count, c = 60, 0.02
    x, y = make_classification(
        count, sum(CHANNELS.values()), n_informative=6, n_classes=3, random_state=0
    )
    x = (x * np.linspace(0.1, 20, x.shape[1]) + 3).astype(np.float32)
    taps = {"penultimate": x[:, :5], "last": x[:, 5:]}
    head = build_head(HeadParams(l2=1 / (2 * c * count)), CHANNELS, 3, _moments(taps), seed=0)
    _fit(head, taps, y, 600)

    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaled, y)
    expected = reference.predict_proba(scaled)
    assert np.ptp(expected) > 0.3
    assert np.abs(apply_head(head, taps).numpy() - expected).max() < 2e-3


def test_the_regularised_head_sees_standardised_taps() -> None:
    taps = _taps(1, 200)
    taps["last"] = taps["last"] * 1000 + 5
    head = build_head(HeadParams(l2=0.007), CHANNELS, 3, _moments(taps), 0)
    seen = keras.Model(head.input, head.get_layer("taps").output)(taps).numpy()
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-3)


def test_the_penalty_is_lambda_times_the_squared_kernel_and_nothing_else() -> None:
    head = _build(l2=0.25)
    layer = head.get_layer("probabilities")
    layer.bias.assign(np.full(3, 9.0))
    (penalty,) = head.losses
    np.testing.assert_allclose(penalty, 0.25 * (layer.kernel.numpy() ** 2).sum(), rtol=1e-5)
    assert _build(kind="paper").losses == []


def test_constant_channels_do_no_harm() -> None:
    taps = _taps(2, 50)
    taps["penultimate"][:, 0] = 0.0
    taps["last"][:, 1] = 1000.0
    # Rounding noise on a constant: it must not be blown up to variance 1.
    noise = np.random.default_rng(3).normal(size=50)
    taps["last"][:, 2] = (1.0 + 1e-7 * noise).astype(np.float32)
    head = build_head(HeadParams(l2=0.007), CHANNELS, 3, _moments(taps), 0)
    seen = keras.Model(head.input, head.get_layer("taps").output)(taps).numpy()
    assert np.abs(seen[:, [0, 5 + 1, 5 + 2]]).max() < 1e-3
    assert np.isfinite(apply_head(head, taps).numpy()).all()

    # And where serving sees such a channel move, by as much as its size allows.
    taps["penultimate"][:, 0] = 1.0
    assert np.isfinite(apply_head(head, taps).numpy()).all()


def test_the_paper_head_is_two_dense_layers_on_the_last_tap_alone() -> None:
    head = _build(kind="paper", width=16)
    shapes = [tuple(variable.shape) for variable in head.trainable_variables]
    assert shapes == [(7, 16), (16,), (16, 3), (3,)]
    assert head.get_layer("hidden").activation is keras.activations.relu
    taps = _taps()
    before = apply_head(head, taps).numpy()
    taps["penultimate"] += 100
    np.testing.assert_array_equal(apply_head(head, taps).numpy(), before)
    taps["last"] += 1
    assert np.abs(apply_head(head, taps).numpy() - before).max() > 1e-3


def test_the_regularised_head_uses_both_taps() -> None:
    head = _build()
    assert head.count_params() - _non_trainable(head) == (5 + 7) * 3 + 3
    for name in CHANNELS:
        taps = _taps()
        before = apply_head(head, taps).numpy()
        taps[name] += 1
        assert np.abs(apply_head(head, taps).numpy() - before).max() > 1e-3


def _non_trainable(model: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.non_trainable_variables)


@pytest.mark.parametrize("kind", ["paper", "regularised"])
def test_output_is_a_distribution(kind: str) -> None:
    probabilities = apply_head(_build(kind=kind), _taps()).numpy()
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (6, 3))
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["paper", "regularised"])
def test_dropout_works_in_training_only(kind: str) -> None:
    taps = _taps()
    head = _build(kind=kind, dropout=0.5)
    still = apply_head(head, taps, training=False).numpy()
    np.testing.assert_array_equal(apply_head(head, taps, training=False), still)
    dropped = apply_head(head, taps, training=True).numpy()
    assert np.abs(dropped - still).max() > 1e-3
    # Another draw at the next step, and the same two draws from the same seed.
    assert np.abs(apply_head(head, taps, training=True).numpy() - dropped).max() > 1e-3
    same_seed = _build(kind=kind, dropout=0.5)
    np.testing.assert_array_equal(apply_head(same_seed, taps, training=True), dropped)
    without = _build(kind=kind)
    np.testing.assert_array_equal(
        apply_head(without, taps, training=True), apply_head(without, taps, training=False)
    )


@pytest.mark.parametrize("kind", ["paper", "regularised"])
def test_initial_weights_are_the_seeds(kind: str) -> None:
    keras.utils.set_random_seed(1)
    first = _build(7, kind=kind).get_weights()
    keras.utils.set_random_seed(2)
    again = _build(7, kind=kind).get_weights()
    other = _build(8, kind=kind).get_weights()
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    kernels = [(one, two) for one, two in zip(first, other, strict=True) if one.ndim == 2]
    assert kernels
    assert all((one != two).any() for one, two in kernels if one.shape[-1] > 1)


def test_the_hierarchical_head_is_two_logistic_regressions() -> None:
    """One on sick or healthy, one on the sick alone; scikit-learn fits each by itself."""
    # With classes on either side of the healthy one.
    count, healthy = 90, 1
    x, y = make_classification(
        count, sum(CHANNELS.values()), n_informative=6, n_classes=3, random_state=1
    )
    x = (x * np.linspace(0.1, 20, x.shape[1]) + 3).astype(np.float32)
    taps = {"penultimate": x[:, :5], "last": x[:, 5:]}
    l2 = 0.02
    head = build_hierarchical_head(HeadParams(l2=l2), CHANNELS, 3, healthy, _moments(taps), 0)
    _fit(head, taps, y, 800)
    probabilities = apply_head(head, taps).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)

    # The loss is a mean over all images; scikit-learn's C weighs the sum over those it sees.
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    sick = y != healthy

    def regression(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # Two softmax columns share what scikit-learn's one vector bears: half the penalty.
        model = LogisticRegression(C=1 / (l2 * count), tol=1e-10, max_iter=10_000)
        return model.fit(scaled[rows], labels).predict_proba(scaled)

    state = regression(np.ones(count, bool), sick)
    illness = regression(sick, y[sick])
    expected = np.insert(state[:, 1:] * illness, healthy, state[:, 0], axis=1)
    assert np.ptp(expected) > 0.3
    assert np.abs(probabilities - expected).max() < 5e-3


def test_the_hierarchical_head_with_random_weights_is_the_seeds() -> None:
    moments = _moments(_taps())
    heads = [
        build_hierarchical_head(HeadParams(l2=0.1), CHANNELS, 3, 1, moments, seed)
        for seed in (3, 3, 4)
    ]
    first, again, other = (apply_head(head, _taps()).numpy() for head in heads)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
