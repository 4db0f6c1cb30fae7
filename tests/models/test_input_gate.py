"""The input gate's arithmetic: facts of pixels, poses, distances, thresholds, reasons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.input_gate import (
    CELLS,
    FACTS,
    POSES,
    PixelGate,
    facts_of,
    fit_look,
    fit_pixels,
    pixel_gate_from_json,
    pose_probabilities,
    posed,
    reasons_of,
    thresholds,
)
from models.input_gate_tensors import LookTensors, screen
from schema import contract


def chests(count: int, seed: int = 0) -> np.ndarray:
    """Draw images with a dark upper left and a bright lower right, uint8 [count, 256, 256, 1]."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:1:256j, 0:1:256j]
    shape = 200 * (0.7 * down + 0.3 * across**2) + 20
    noisy = [shape * rng.uniform(0.8, 1) + rng.normal(0, 8, shape.shape) for _ in range(count)]
    return np.clip(np.stack(noisy), 0, 255).astype(np.uint8)[..., np.newaxis]


@pytest.fixture(scope="module")
def gate() -> PixelGate:
    return fit_pixels(facts_of(chests(20)))


def blanks() -> np.ndarray:
    pixel = np.zeros((256, 256), np.uint8)
    pixel[100, 100] = 255
    levels = [np.full((256, 256), level, np.uint8) for level in (0, 127, 255)]
    return np.stack([*levels, pixel])[..., np.newaxis]


def test_poses_of_facts_are_facts_of_poses() -> None:
    images = chests(3)
    turned = [np.rot90(images, k, axes=(1, 2)) for k in (1, 2, 3)]
    for found, pixels in zip(posed(facts_of(images)), [images, 255 - images, *turned], strict=True):
        np.testing.assert_allclose(found, facts_of(pixels), atol=1e-3)


def test_new_images_in_each_pose_are_told_apart(gate: PixelGate) -> None:
    facts = facts_of(chests(9, seed=1))
    for number, each in enumerate(posed(facts)):
        assert (pose_probabilities(gate, each).argmax(axis=1) == number).all()


@pytest.mark.parametrize("image", range(4))
def test_blank_is_said_before_all_else(gate: PixelGate, image: int) -> None:
    facts = facts_of(blanks()[image : image + 1])
    assert reasons_of(gate, facts, np.array([9.0])) == [contract.DOMAIN_BLANK]


def test_pose_is_said_before_distance_and_each_has_its_name(gate: PixelGate) -> None:
    every = np.concatenate(posed(facts_of(chests(1, seed=2))))
    expected = ["unlike_training", "inverted", "turned", "turned", "turned"]
    assert reasons_of(gate, every, np.full(len(POSES), 1.001)) == expected
    assert reasons_of(gate, every[:1], np.array([1.0])) == ["ok"]


def test_text_keeps_the_gate(gate: PixelGate) -> None:
    again = pixel_gate_from_json(gate.to_json())
    assert again.to_json() == gate.to_json()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kernel": [[1]], "bias": [1], "as_is_below": 0.5}', "null"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no input gate"):
        pixel_gate_from_json(text)


def rows(count: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Taps near a plane of four dimensions, one tap in a grid of cells."""
    rng = np.random.default_rng(seed)
    plane = np.random.default_rng(9).normal(size=(4, 24))
    flat = rng.normal(size=(count, 4)) @ plane + 0.05 * rng.normal(size=(count, 24)) + shift
    cells = np.repeat(flat[:, np.newaxis, :10], 16, axis=1)
    cells += rng.normal(size=cells.shape)
    return {
        "grid": cells.reshape(count, -1).astype(np.float32),
        "mean": flat[:, 10:].astype(np.float32),
    }


def test_what_leaves_the_plane_is_far() -> None:
    look = fit_look(rows(60, 0), frozenset({"grid"}))
    near = look.distance(rows(40, 1))
    rng = np.random.default_rng(3)
    other = {name: rng.normal(size=values.shape) * 3 for name, values in rows(40, 2).items()}
    assert look.distance(other).min() > 2 * near.max()


@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_few_rows_and_constant_channels_give_numbers(count: int) -> None:
    taps = {**rows(count, 0), "constant": np.ones((count, 6), np.float32)}
    look = fit_look(taps, frozenset({"grid"}))
    assert np.isfinite(look.distance(taps)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=300),
    st.floats(0.001, 0.3),
    st.integers(0, 5),
)
def test_no_more_than_the_share_is_kept_out(
    distances: list[float], share: float, unsure: int
) -> None:
    count = len(distances)
    as_is = np.ones(count)
    as_is[:unsure] = np.linspace(0.1, 0.4, unsure)[:count]
    below, farthest = thresholds(as_is, np.array(distances), share)
    kept_out = (as_is < below) | (np.array(distances) > farthest)
    assert kept_out.sum() <= share * count
    assert below <= 0.5


def test_the_share_is_used_where_images_differ() -> None:
    distances = np.linspace(1, 2, 200)
    _, farthest = thresholds(np.ones(200), distances, 0.05)
    assert (distances > farthest).sum() == 10


def test_few_images_let_more_room() -> None:
    distances = np.exp(np.random.default_rng(0).normal(0, 0.1, 12))
    _, farthest = thresholds(np.ones(12), distances, 0.01)
    assert farthest > distances.max()
    assert farthest < math.exp(0.5)


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 images"):
        thresholds(np.zeros(0), np.zeros(0), 0.01)


def test_tensorflow_says_the_same(gate: PixelGate) -> None:
    upright = chests(3, seed=4)
    images = np.concatenate([upright, 255 - upright, np.rot90(upright, 1, (1, 2)), blanks()])
    distances = np.linspace(0.2, 2.0, len(images))
    said = screen(gate, tf.constant(images), tf.constant(distances[:, np.newaxis], tf.float32))
    reasons = [each.decode() for each in said["domain_reason"].numpy()]
    assert reasons == reasons_of(gate, facts_of(images), distances)
    assert said["in_domain"].numpy().tolist() == [reason == "ok" for reason in reasons]
    assert {"ok", "inverted", "turned", "blank"} <= set(reasons)


def test_tensorflow_bears_an_empty_batch(gate: PixelGate) -> None:
    said = screen(gate, tf.zeros([0, 256, 256, 1], tf.uint8), tf.zeros([0, 1]))
    assert said["in_domain"].shape == said["domain_reason"].shape == (0,)


def test_tensorflow_measures_the_same_distance() -> None:
    look = fit_look(rows(60, 0), frozenset({"grid"}))
    taps = rows(7, 1)
    found = LookTensors(look)({name: tf.constant(values) for name, values in taps.items()})
    np.testing.assert_allclose(found.numpy()[:, 0], look.distance(taps), rtol=1e-4)


def test_facts_have_their_number() -> None:
    facts = facts_of(blanks())
    assert facts.shape == (4, FACTS)
    assert facts.dtype == np.float32
    np.testing.assert_allclose(facts[1, : CELLS**2], 127)
    np.testing.assert_allclose(facts[3, CELLS**2 :], [255 / 256, 1 - 1 / 65536], rtol=1e-2)
