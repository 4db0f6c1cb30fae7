"""Folds tear no group, go by no order, and are as even as groups let them be."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from models.cross_validation import assign_folds, out_of_fold


@st.composite
def labelled_groups(draw: st.DrawFn) -> tuple[np.ndarray, list[str]]:
    """Classes with two to twenty groups each, of one to four images; some have two classes."""
    labels: list[int] = []
    groups: list[str] = []
    for label in range(draw(st.integers(2, 3))):
        for group in range(draw(st.integers(2, 20))):
            size = draw(st.integers(1, 4))
            # Every fifth group is shared with the class before.
            name = f"{label - 1 if label and group % 5 == 4 else label}-{group}"
            labels += [label] * size
            groups += [name] * size
    return np.array(labels), groups


@settings(max_examples=15, deadline=None)
@given(labelled_groups(), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_no_group_is_torn_and_no_order_counts(
    images: tuple[np.ndarray, list[str]], seed: int, random: st.DrawFn
) -> None:
    labels, groups = images
    folds = assign_folds(labels, groups, seed)
    assert folds.dtype == np.int64
    assert np.unique(folds).tolist() == list(range(folds.max() + 1))
    assert all(len(set(folds[np.array(groups) == name])) == 1 for name in set(groups))
    assert all(len(set(folds[labels == label])) > 1 for label in set(labels.tolist()))
    order = np.arange(len(labels))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = assign_folds(labels[order], [groups[index] for index in order], seed)
    np.testing.assert_array_equal(again, folds[order])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(5, 60), min_size=2, max_size=4), st.integers(0, 1000))
def test_where_all_stand_alone_no_class_is_uneven_by_more_than_one(
    sizes: list[int], seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    folds = assign_folds(labels, [str(row) for row in range(len(labels))], seed)
    for label in range(len(sizes)):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_patients_of_several_images_are_dealt_evenly() -> None:
    # As of the radiographs: most stand alone, some patients have up to six.
    sizes = [1] * 60 + [2] * 20 + [3] * 8 + [6] * 4
    labels, groups = [], []
    for label in range(3):
        for number, size in enumerate(sizes):
            labels += [label] * size
            groups += [f"{label} {number}"] * size
    folds = assign_folds(np.array(labels), groups, 0)
    for label in range(3):
        counts = np.bincount(folds[np.array(labels) == label], minlength=5)
        assert counts.max() - counts.min() <= 3


def test_another_seed_deals_otherwise() -> None:
    labels, groups = np.repeat([0, 1], 20), [str(row) for row in range(40)]
    assert (assign_folds(labels, groups, 0) != assign_folds(labels, groups, 1)).any()


def test_few_patients_make_few_folds_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = np.array([0] * 10 + [1] * 6)
    groups = [f"a{row}" for row in range(10)] + ["b0", "b0", "b1", "b1", "b2", "b2"]
    with caplog.at_level(logging.WARNING, logger="absl"):
        folds = assign_folds(labels, groups, 0)
    assert sorted(Counter(folds[10:].tolist()).values()) == [2, 2, 2]
    assert "has 3 folds and not 5: a class has 3 patients" in caplog.text


def test_one_patient_of_a_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"training\.validation: cross needs images of at least"):
        assign_folds(np.array([0, 0, 1, 1]), ["a", "b", "c", "c"], 0)


def test_each_image_is_answered_by_what_has_not_seen_it() -> None:
    folds = np.array([0, 1, 0, 2, 1])
    calls = []

    def fit_and_answer(fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        calls.append((fitted.tolist(), asked.tolist()))
        return {"flat": np.stack([asked, fitted.sum() * np.ones_like(asked)], axis=1)}

    answers = out_of_fold(folds, fit_and_answer)
    assert calls == [([1, 3, 4], [0, 2]), ([0, 2, 3], [1, 4]), ([0, 1, 2, 4], [3])]
    assert answers.keys() == {"flat"}
    assert answers["flat"].dtype == np.float64
    assert answers["flat"].tolist() == [[0, 8], [1, 5], [2, 8], [3, 7], [4, 5]]


def test_one_fold_leaves_nothing_to_fit_on() -> None:
    with pytest.raises(ValueError, match="1 instead of two"):
        out_of_fold(np.zeros(3, np.int64), lambda fitted, asked: {})
