"""Heat maps: they add up to the score, and lie where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.boundary import pool
from models.explanation import class_score, evidence, heat_map
from models.heads import apply_head, build_head, build_hierarchical_head, tap_means
from models.hyperparameters import HeadParams

Arrays = dict[str, np.ndarray]
POOLS: Mapping[str, Any] = {"early": "avg", "early_max": "max", "early_grid": "grid", "last": "avg"}
CHANNELS = {"early": 5, "early_max": 5, "early_grid": 80, "last": 7}


def _maps(seed: int, count: int = 4) -> Arrays:
    """Feature maps after a ReLU: three taps on one map, and a coarser one."""
    rng = np.random.default_rng(seed)
    early = rng.normal(size=(count, 16, 16, 5)).clip(0).astype(np.float32)
    last = rng.normal(size=(count, 8, 8, 7)).clip(0).astype(np.float32)
    return {"early": early, "early_max": early, "early_grid": early, "last": last}


def _pooled(maps: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(pool(name, values, POOLS[name])) for name, values in maps.items()}


def _moments(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    taps = {name: tap.numpy() for name, tap in _pooled(_maps(seed, 50)).items()}
    return {name: (tap.mean(axis=0), tap.var(axis=0)) for name, tap in taps.items()}


def _head(seed: int = 0, **params: Any) -> keras.Model:
    given = HeadParams(**{"l2": 0.01, **params})
    return build_head(given, CHANNELS, 3, _moments(seed), seed)


def _probabilities(head: keras.Model) -> Callable[[Any], tf.Tensor]:
    return lambda taps: apply_head(head, taps, training=False)


def _evidence(head: keras.Model, maps: Arrays, classes: Any) -> np.ndarray:
    tensors = {name: tf.constant(values) for name, values in maps.items()}
    parts = evidence(
        _probabilities(head), tensors, _pooled(maps), POOLS, tap_means(head), tf.constant(classes)
    )
    return parts.numpy()


def test_the_score_is_the_log_odds_against_the_other_classes() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    classes = rng.integers(0, 4, 6)
    expected = [
        row[chosen] - np.delete(row, chosen).mean()
        for row, chosen in zip(logits, classes, strict=True)
    ]
    for shift in (0.0, 5.0):
        found = class_score(tf.nn.softmax(logits + shift), tf.constant(classes))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_its_gradient_does_not_fade_where_the_model_is_sure() -> None:
    logits = tf.constant([[30.0, 0.0, -40.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        score = class_score(tf.nn.softmax(logits), tf.constant([0]))
    np.testing.assert_allclose(tape.gradient(score, logits), [[1.0, -0.5, -0.5]], atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("taps", [("last",), ("early_max",), ("early_grid",), tuple(POOLS)])
def test_a_linear_heads_evidence_adds_up_to_the_score(taps: tuple[str, ...], seed: int) -> None:
    moments = _moments(seed)
    channels = {name: CHANNELS[name] for name in taps}
    head = build_head(HeadParams(l2=0.01), channels, 3, moments, seed)
    maps = {name: values for name, values in _maps(seed + 100).items() if name in taps}
    classes = [0, 1, 2, 0]
    parts = _evidence(head, maps, classes)
    assert parts.shape == (4, 256, 256)
    average = {name: tf.constant(moments[name][0][np.newaxis], tf.float32) for name in taps}
    score = class_score(_probabilities(head)(_pooled(maps)), classes)
    expected = score - class_score(tf.repeat(_probabilities(head)(average), 4, axis=0), classes)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), expected, atol=1e-4)


def test_behind_one_mean_it_is_the_class_activation_map() -> None:
    """Zhou et al. 2016, for a map that needs no resizing and a head that standardises nothing."""
    rng = np.random.default_rng(2)
    maps = {"last": rng.random((2, 256, 256, 3), np.float32)}
    weights = rng.normal(size=(3, 3)).astype(np.float32)
    parts = evidence(
        lambda taps: tf.nn.softmax(taps["last"] @ weights),
        {"last": tf.constant(maps["last"])},
        _pooled(maps),
        POOLS,
        {"last": 0.0},
        tf.constant([2, 0]),
    )
    for row, chosen in enumerate((2, 0)):
        of_score = weights[:, chosen] - np.delete(weights, chosen, axis=1).mean(axis=1)
        activation = maps["last"][row] @ of_score
        np.testing.assert_allclose(parts[row], activation / 256**2, rtol=1e-4, atol=1e-9)


def test_a_maximum_speaks_from_its_place_and_equal_ones_share() -> None:
    values = np.zeros((2, 256, 256, 1), np.float32)
    values[0, 40, 200] = 3.0
    values[1, [10, 250], [20, 30]] = 2.0
    maps = {"early_max": values}
    parts = evidence(
        lambda taps: tf.nn.softmax(taps["early_max"] * [[1.0, -1.0]]),
        {"early_max": tf.constant(values)},
        _pooled(maps),
        POOLS,
        {"early_max": 1.0},
        tf.constant([0, 0]),
    )
    expected = np.zeros((2, 256, 256), np.float32)
    expected[0, 40, 200] = 2 * (3 - 1)
    expected[1, [10, 250], [20, 30]] = 2 * (2 - 1) / 2
    np.testing.assert_allclose(parts, expected, atol=1e-5)


def test_a_cell_of_a_grid_speaks_for_itself() -> None:
    """Channel 1 of the cell in the second row and third column is all that the head looks at."""
    values = np.random.default_rng(4).random((1, 256, 256, 2), np.float32)
    weights = np.zeros((32, 2), np.float32)
    weights[(1 * 4 + 2) * 2 + 1] = 1.0, -1.0
    maps = {"early_grid": values}
    parts = evidence(
        lambda taps: tf.nn.softmax(taps["early_grid"] @ weights),
        {"early_grid": tf.constant(values)},
        _pooled(maps),
        POOLS,
        {"early_grid": 0.25},
        tf.constant([0]),
    )
    expected = np.zeros((1, 256, 256), np.float32)
    in_cell = values[0, 64:128, 128:192, 1]
    expected[0, 64:128, 128:192] = 2 * (in_cell - 0.25) / 64**2
    np.testing.assert_allclose(parts, expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["paper", "hierarchical"])
def test_other_heads_are_explained_in_first_order(kind: str) -> None:
    """The part of each tap is its gradient times what sets it apart from the average."""
    if kind == "paper":
        head = _head(kind="paper", width=16)
        assert tap_means(head) == {"last": 0.0}
    else:
        head = build_hierarchical_head(HeadParams(l2=0.01), CHANNELS, 3, 1, _moments(0), 0)
    maps, classes, step = _maps(7), [2, 1, 0, 2], 1e-3
    taps, means = _pooled(maps), tap_means(head)

    def score(scale: float) -> np.ndarray:
        moved = {name: taps[name] + scale * (taps[name] - mean) for name, mean in means.items()}
        return class_score(_probabilities(head)(moved), classes).numpy().astype(np.float64)

    slope = (score(step) - score(-step)) / (2 * step)
    parts = _evidence(head, maps, classes)
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), slope, atol=5e-3)


def _detector() -> tuple[keras.Model, keras.Model]:
    """A symmetric network whose one useful channel is brightness, and a head for which that is
    what class 1 looks like."""
    grey = keras.Input((256, 256, 1))
    layers = keras.layers
    x = layers.AveragePooling2D(8)(layers.Rescaling(1 / 255)(grey))
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(x)
    last = layers.AveragePooling2D(2)(x)
    model = keras.Model(grey, {"early": x, "early_max": x, "last": last})
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[..., 0, 0] = 1 / 9
    model.get_layer("conv").set_weights([kernel, np.array([0, 0.5], np.float32)])
    channels = dict.fromkeys(model.output, 2)
    moments = {name: (np.zeros(2), np.ones(2)) for name in channels}
    head = build_head(HeadParams(l2=0.01), channels, 3, moments, 0)
    weights = np.zeros((6, 3), np.float32)
    weights[[0, 4], 1] = 2.0  # the means
    weights[2, 1] = 0.002  # the maximum, all of it from one place
    head.get_layer("probabilities").set_weights([weights, np.zeros(3, np.float32)])
    return model, head


def test_what_alone_decides_lights_up_where_it_is_and_mirrored_in_the_mirror() -> None:
    model, head = _detector()
    image = np.zeros((1, 256, 256, 1), np.float32)
    image[:, 170:210, 30:80] = 255
    both = np.concatenate([image, image[:, :, ::-1]])
    maps = {name: values.numpy() for name, values in model(both).items()}
    probabilities = _probabilities(head)(_pooled(maps)).numpy()
    assert probabilities.argmax(axis=-1).tolist() == [1, 1]
    heat = heat_map(tf.constant(_evidence(head, maps, [1, 1]))).numpy()
    rows, columns = np.unravel_index(heat[0].argmax(), heat[0].shape)
    assert 170 <= rows < 210 and 30 <= columns < 80
    # Two layers of neighbours around the patch, and no more.
    outside = heat[0].copy()
    outside[170 - 24 : 210 + 24, 30 - 24 : 80 + 24] = 0
    assert outside.max() < 0.05
    assert heat[0, 170:210, 30:80].mean() > 0.5
    np.testing.assert_allclose(heat[1], heat[0, :, ::-1], atol=1e-5)
    # For another class nothing speaks.
    assert not heat_map(tf.constant(_evidence(head, maps, [0, 2]))).numpy().any()


def test_heat_is_relative_to_each_images_own_largest_value() -> None:
    parts = np.random.default_rng(0).normal(size=(3, 256, 256)).astype(np.float32) * 1e-6
    parts[2] = -1.0
    heat = heat_map(tf.constant(parts)).numpy()
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat[:2].max(axis=(1, 2)), 1)
    np.testing.assert_allclose(heat[0], parts[0].clip(0) / parts[0].max(), rtol=1e-6)
    assert not heat[2].any()
    assert heat_map(tf.zeros([0, 256, 256])).shape == (0, 256, 256)


def test_rows_do_not_depend_on_each_other() -> None:
    head, maps, classes = _head(), _maps(3), [0, 1, 2, 1]
    together = _evidence(head, maps, classes)
    for row in range(4):
        alone = _evidence(head, {k: v[row : row + 1] for k, v in maps.items()}, [classes[row]])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-8)
