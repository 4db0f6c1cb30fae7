"""The metric that keeps the answers; through TFMA it is tested with the gate's metrics."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import prepare_environment

prepare_environment()

from tensorflow_model_analysis.metrics import metric_types  # noqa: E402

from components.evaluator.answers import Answers  # noqa: E402
from schema import contract  # noqa: E402
from schema.contract import ANSWERED_IMAGES, ANSWERS  # noqa: E402

probabilities = st.tuples(*[st.floats(0, 1, width=32)] * 3)


def _digest(index: int) -> bytes:
    return hashlib.sha256(bytes([index])).hexdigest().encode()


@given(st.lists(st.tuples(st.integers(0, 2), probabilities, st.integers(0, 3)), min_size=1))
def test_every_answer_is_kept_whatever_worker_saw_the_image(
    seen: list[tuple[int, tuple[float, ...], int]],
) -> None:
    (computation,) = Answers().computations()
    combiner = computation.combiner
    workers = [combiner.create_accumulator() for _ in range(4)]
    for index, (label, answer, worker) in enumerate(seen):
        element = metric_types.StandardMetricInputs(
            labels=np.array([label]),
            predictions=np.array(answer, np.float32),
            features={contract.SHA256: np.array([_digest(index)])},
        )
        workers[worker] = combiner.add_input(workers[worker], element)
    merged = combiner.extract_output(combiner.merge_accumulators(workers))
    kept = {key.name: value for key, value in merged.items()}
    expected = sorted(
        (_digest(index).decode(), [float(label), *answer])
        for index, (label, answer, _) in enumerate(seen)
    )
    assert kept[ANSWERED_IMAGES].tolist() == [digest for digest, _ in expected]
    # Exactly: a float32 is a float64.
    assert kept[ANSWERS].tolist() == [row for _, row in expected]


def test_answers_are_of_all_classes() -> None:
    with pytest.raises(ValueError, match="binarize"):
        Answers().computations(sub_keys=[metric_types.SubKey(class_id=0)])


def test_an_image_without_a_digest_is_refused() -> None:
    (computation,) = Answers().computations()
    element = metric_types.StandardMetricInputs(
        labels=np.array([0]), predictions=np.array([0.8, 0.1, 0.1], np.float32), features={}
    )
    with pytest.raises(ValueError, match=contract.SHA256):
        computation.combiner.add_input(computation.combiner.create_accumulator(), element)
