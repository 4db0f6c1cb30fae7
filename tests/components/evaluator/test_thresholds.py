"""Matrices at many thresholds, beside TFMA's own functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorflow_model_analysis.metrics import binary_confusion_matrices, calibration_histogram
from tensorflow_model_analysis.metrics.calibration_histogram import Bucket
from tensorflow_model_analysis.version import VERSION

from components.evaluator import thresholds as quick

REBIN = calibration_histogram.rebin
MATRICES = binary_confusion_matrices._histogram_to_binary_confusion_matrices
BUCKETS = 1000
# Weights whose sums have a rounding: another order would show.
WEIGHTS = st.floats(0, 1e3, width=32)


@st.composite
def histograms(draw: st.DrawFn) -> list[Bucket]:
    """Buckets in order, those beyond both ends among them."""
    places = draw(st.lists(st.integers(0, BUCKETS + 1), unique=True, max_size=30))
    rows = [(place, *(draw(WEIGHTS) for _ in range(3))) for place in sorted(places)]
    return [Bucket(place, min(a, b), c, max(a, b)) for place, a, b, c in rows]


@st.composite
def thresholds(draw: st.DrawFn) -> list[float]:
    """Some hundred in order, or few; some are there twice, and some lie on a bucket's edge."""
    number = draw(st.sampled_from([1, 2, 7, 99, 100, 101, 163, 402]))
    scale = draw(st.sampled_from([number, BUCKETS, 2 * BUCKETS]))
    some = draw(st.lists(st.floats(-0.5, 1.5), max_size=number))
    even = [i / scale for i in range(number - len(some))]
    return sorted(even + some)


def _plain(buckets: Any) -> list[tuple[float, ...]]:
    return [
        (b.bucket_id, b.weighted_labels, b.weighted_predictions, b.weighted_examples)
        for b in buckets
    ]


def _copy(buckets: list[Bucket]) -> list[Bucket]:
    return [Bucket(*row) for row in _plain(buckets)]


@example(histogram=[], limits=[i / 200 for i in range(201)])
@example(histogram=[Bucket(0, 1.0, 2.0, 3.0)], limits=[0.5 + i / 200 for i in range(201)])
@given(histogram=histograms(), limits=thresholds())
def test_buckets_between_other_thresholds(histogram: list[Bucket], limits: list[float]) -> None:
    there = REBIN(limits, _copy(histogram), BUCKETS)
    here = quick.rebin(limits, _copy(histogram), BUCKETS)
    assert len(here) == len(there)
    assert _plain(here) == _plain(there)
    assert _plain(here[2:9:3]) == _plain(there[2:9:3])
    assert _plain([here[-1]]) == _plain([there[-1]])


@given(
    histogram=histograms(),
    number=st.sampled_from([100, 250, 1000]),
    edges=st.sampled_from([(-1e-7, 1.0 + 1e-7), (0.0, 1.0), (0.2, 0.9), (1.1, 1.2)]),
)
def test_matrices_are_the_same_to_the_last_bit(
    histogram: list[Bucket], number: int, edges: tuple[float, float]
) -> None:
    first, last = edges
    step = (last - first) / (number - 1)
    limits = [first, *(first + step * i for i in range(1, number - 1)), last]
    # TFMA begins a bucket before the first threshold that isn't below 0.
    wanted = ([-1e-7] if first >= 0 else []) + limits + ([1.0 + 1e-7] if last < 1 else [])
    there = MATRICES(list(limits), REBIN(wanted, _copy(histogram), BUCKETS))
    here = quick.confusion_matrices(list(limits), quick.rebin(wanted, _copy(histogram), BUCKETS))
    assert here == there
    assert [list(map(type, part[:3])) for part in here] == [
        list(map(type, part[:3])) for part in there
    ]


def test_tfma_counts_so_inside_the_block_alone() -> None:
    assert VERSION in quick.COMPARED, "compare the two functions, and add the version"
    with quick.quick_thresholds():
        assert calibration_histogram.rebin is quick.rebin
        module = binary_confusion_matrices
        assert module._histogram_to_binary_confusion_matrices is quick.confusion_matrices
    assert calibration_histogram.rebin is REBIN
    assert binary_confusion_matrices._histogram_to_binary_confusion_matrices is MATRICES


def test_another_version_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "COMPARED", ())
    with quick.quick_thresholds():
        assert calibration_histogram.rebin is REBIN
