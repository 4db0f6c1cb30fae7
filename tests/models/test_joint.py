"""The head on image and table: its rows, its parts, what it answers where one is missing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from models.joint import Parts, contributions, fit_head, without
from models.joint_comparison import (
    IMAGE,
    JOINT,
    TABLE,
    WITHHELD,
    Comparison,
    compare,
    sentence,
)
from models.joint_params import JointParams
from models.refit import answers_of
from models.training_data import ImageTaps, TapData, moments_of
from tests.models.made_tables import CLASSES, COLUMNS, WITHIN, made_images

PARAMS = JointParams()
ALL = Parts.of(COLUMNS, PARAMS, WITHIN)


@pytest.fixture(scope="module")
def images() -> ImageTaps:
    return made_images(360, seed=1)


def _taps(images: ImageTaps) -> TapData:
    everything = np.arange(len(images.labels))
    return images.split(everything, everything)


@pytest.fixture(scope="module")
def head(images: ImageTaps) -> keras.Model:
    fitted, _ = fit_head(ALL, _taps(images), CLASSES, l2=PARAMS.l2, withheld=0.5, iterations=5_000)
    return fitted


def _rows(head: keras.Model, taps: dict[str, np.ndarray]) -> np.ndarray:
    read = keras.Model(head.input, head.get_layer("probabilities").input)
    rows: np.ndarray = read({name: taps[name] for name in head.input}).numpy()
    return rows


def test_taps_are_sorted_by_their_part() -> None:
    assert ALL.taps == {
        "image": ("cnn_last",),
        "table": ("table_crp", "table_ldh", "table_ward"),
        "text": ("table_notes",),
    }
    assert Parts.of(COLUMNS, PARAMS).weights == {"table": 0.1, "text": 0.1}
    assert ALL.order == ("cnn_last", "table_crp", "table_ldh", "table_ward", "table_notes")


def test_each_part_has_its_weights_share_of_the_square_and_columns_count_alike(
    images: ImageTaps, head: keras.Model
) -> None:
    squares = (_rows(head, dict(images.taps)) ** 2).mean(axis=0)
    by_tap, place = {}, 0
    for name in ALL.order:
        width = images.taps[name].shape[1]
        by_tap[name] = squares[place : place + width].sum()
        place += width
    whole = 1.2
    assert by_tap["cnn_last"] == pytest.approx(1 / whole, rel=1e-3)
    for name in ALL.taps["table"]:
        assert by_tap[name] == pytest.approx(0.1 / 3 / whole, rel=1e-3)
    assert by_tap["table_notes"] == pytest.approx(0.1 / whole, rel=1e-3)


def test_a_channel_that_never_varies_leaves_its_share_to_the_others() -> None:
    taps = {"table_crp": np.stack([np.arange(6.0), np.ones(6)], axis=1)}
    (scale,) = Parts.of(COLUMNS[:1], PARAMS).scales(moments_of(taps)).values()
    assert scale == pytest.approx(1.0)


def test_rows_show_all_parts_or_some_but_never_none() -> None:
    patterns = dict(ALL.patterns(0.5))
    assert patterns.pop(frozenset(("image", "table", "text"))) == 0.5
    assert len(patterns) == 6
    assert frozenset() not in patterns
    assert set(patterns.values()) == {0.5 / 6}
    assert Parts.of(COLUMNS[:2], PARAMS).patterns(0.5) == [(frozenset(["table"]), 1.0)]
    assert len(ALL.patterns(0.0)) == 1


def test_it_is_scikit_learns_logistic_regression_on_the_repeated_rows(
    images: ImageTaps, head: keras.Model
) -> None:
    rows = _rows(head, dict(images.taps)).astype(np.float64)
    # What Transform makes of missing columns; a withheld image is the mean one.
    empty = {name: np.zeros_like(values) for name, values in images.taps.items()}
    gone = _rows(head, empty).astype(np.float64)
    gone[:, :600] = 0
    places = {"image": slice(0, 600), "table": slice(600, 608), "text": slice(608, 616)}
    repeated, weights = [], []
    for shown, weight in ALL.patterns(0.5):
        part = rows.copy()
        for name in set(places) - shown:
            part[:, places[name]] = gone[:, places[name]]
        repeated.append(part)
        weights.append(np.full(len(part), weight))
    theirs = LogisticRegression(C=1 / (2 * PARAMS.l2 * len(rows)), tol=1e-9, max_iter=20_000).fit(
        np.concatenate(repeated),
        np.tile(images.labels, len(repeated)),
        sample_weight=np.concatenate(weights),
    )
    found = answers_of(head, images.taps)
    np.testing.assert_allclose(found, theirs.predict_proba(rows), atol=1e-3)


def test_where_there_are_more_rows_than_channels_it_is_the_same_minimum(
    images: ImageTaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = _taps(images)
    few = {name: values[:, :40] for name, values in images.taps.items()}
    narrow = TapData((few, taps.training[1]), (few, taps.validation[1]))
    parts = Parts.of(COLUMNS, PARAMS, {"cnn_last": float(1 / 40) ** 0.5})
    given: dict[str, Any] = {"l2": 1e-3, "withheld": 0.5, "iterations": 5_000}
    direct, _ = fit_head(parts, narrow, CLASSES, **given)
    # The same channels, and as many again that are copies: more than rows.
    wide = {name: np.tile(v, (1, 10)) if name == "cnn_last" else v for name, v in few.items()}
    more = Parts.of(COLUMNS, PARAMS, {"cnn_last": float(1 / 400) ** 0.5})
    spanned, _ = fit_head(
        more, TapData((wide, taps.training[1]), (wide, taps.validation[1])), CLASSES, **given
    )
    np.testing.assert_allclose(answers_of(direct, few), answers_of(spanned, wide), atol=1e-3)


def test_two_fits_are_the_same(images: ImageTaps, head: keras.Model) -> None:
    again, _ = fit_head(ALL, _taps(images), CLASSES, l2=PARAMS.l2, withheld=0.5, iterations=5_000)
    for one, two in zip(head.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_parts_and_columns_add_is_the_log_odds(images: ImageTaps, head: keras.Model) -> None:
    answers = answers_of(head, images.taps)
    chosen = answers.argmax(axis=1)
    logs = np.log(answers)
    rows = np.arange(len(chosen))
    of_class = logs[rows, chosen]
    others = (logs.sum(axis=1) - of_class) / (CLASSES - 1)
    added = contributions(head, dict(images.taps), chosen)
    assert set(added) == {*ALL.order, ""}
    np.testing.assert_allclose(sum(added.values()), of_class - others, atol=1e-3)
    # A tap that is as on the mean image adds nothing.
    mean = {name: np.broadcast_to(v.mean(axis=0), v.shape) for name, v in images.taps.items()}
    for name, part in contributions(head, mean, chosen).items():
        if name:
            np.testing.assert_allclose(part, 0, atol=1e-3)


def test_withheld_columns_are_zeros_and_others_stay(images: ImageTaps) -> None:
    taps = without(images.taps, COLUMNS[:1])
    assert not taps["table_crp"].any()
    assert taps["table_ldh"] is images.taps["table_ldh"]


def _accuracies(head: keras.Model, images: ImageTaps) -> dict[str, float]:
    def right(taps: dict[str, np.ndarray]) -> float:
        return float((answers_of(head, taps).argmax(axis=1) == images.labels).mean())

    return {
        "all": right(dict(images.taps)),
        "withheld": right(without(images.taps, COLUMNS)),
    }


def _alone(parts: Parts, l2: float, images: ImageTaps, unseen: ImageTaps) -> float:
    fitted, _ = fit_head(parts, _taps(images), CLASSES, l2=l2, withheld=0.5, iterations=5_000)
    return float((answers_of(fitted, unseen.taps).argmax(axis=1) == unseen.labels).mean())


def test_with_a_signal_in_the_table_it_beats_both_parts_and_falls_back_to_the_image() -> None:
    """A planted signal, on 6,000 images that no head was fitted to."""
    columns = COLUMNS[:3]
    images = made_images(600, seed=1, image=0.3, table=1.5)
    unseen = made_images(6_000, seed=101, image=0.3, table=1.5)
    both = Parts.of(columns, PARAMS, WITHIN)
    fitted, _ = fit_head(
        both, _taps(images), CLASSES, l2=PARAMS.l2, withheld=PARAMS.withheld, iterations=5_000
    )
    image = _alone(Parts.of((), PARAMS, WITHIN), PARAMS.l2, images, unseen)
    table = _alone(Parts.of(columns, PARAMS), PARAMS.table_l2, images, unseen)
    joint = _accuracies(fitted, unseen)
    assert joint["all"] >= max(image, table) + 0.05
    assert joint["withheld"] >= image - 0.01


def test_logits_are_finite_where_all_is_missing(images: ImageTaps, head: keras.Model) -> None:
    nothing = {name: np.zeros_like(values[:2]) for name, values in images.taps.items()}
    answers = answers_of(head, nothing)
    assert np.isfinite(log_softmax(np.log(answers), axis=1)).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    images = made_images(200, seed=3, image=0.3, table=1.5)
    return compare(images, COLUMNS, WITHIN, PARAMS, CLASSES, seed=0)


def test_all_models_answer_all_images_out_of_fold(compared: Comparison) -> None:
    assert set(compared.answers) == {IMAGE, TABLE, JOINT, WITHHELD}
    for answers in compared.answers.values():
        assert answers.shape == (200, CLASSES)
        assert np.isfinite(answers).all()


def test_the_joint_model_is_said_to_be_better_where_it_is(compared: Comparison) -> None:
    found = compared.as_json()
    assert found["joint_is_better"] is True
    gain = found["joint_over_image"]["loss"]
    assert gain["mean"] > gain["error"] > 0
    assert gain["patients"] == 100
    assert "beats the image alone by more than one standard error" in found["sentence"]
    assert found["models"]["joint"]["accuracy"]["value"] > 0.6


def test_a_table_of_noise_is_no_gain() -> None:
    images = made_images(200, seed=4, image=0.6, table=0.0)
    compared = compare(images, COLUMNS, WITHIN, PARAMS, CLASSES, seed=0)
    assert not compared.joint_is_better
    assert sentence(compared).endswith("It is not pushed.")
