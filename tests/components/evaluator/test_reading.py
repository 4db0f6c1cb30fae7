"""Labels, predictions and weights of an image, beside TFMA's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import binary_confusion_matrices, metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.version import VERSION

from components.evaluator import reading

TFMAS = metric_util.to_label_prediction_example_weight
CLASSES = 3
CONFIGS = [
    config_pb2.EvalConfig(model_specs=[config_pb2.ModelSpec(prediction_key=key)])
    for key in ("answer", "other")
]
# How metrics ask: as a whole, by class, flattened, and more.
ASKED: list[dict[str, Any]] = [
    {"flatten": False},
    {"flatten": True},
    {"flatten": False, "squeeze": False},
    *({"sub_key": metric_types.SubKey(class_id=n), "flatten": True} for n in range(CLASSES)),
    {"sub_key": metric_types.SubKey(class_id=1), "fractional_labels": True},
    {"aggregation_type": metric_types.AggregationType(micro_average=True)},
    {"class_weights": {0: 0.5, 2: 3.0}},
    {"example_weighted": True},
]


def _image(seed: int) -> metric_types.StandardMetricInputs:
    rng = np.random.default_rng(seed)
    predictions = {
        name: rng.dirichlet(np.ones(CLASSES)).astype(np.float32) for name in ("answer", "other")
    }
    return metric_types.StandardMetricInputs(
        labels=np.array([rng.integers(CLASSES)]),
        predictions=predictions,
        example_weights=rng.random(1),
    )


def _same(found: Iterator[Any], expected: Iterator[Any]) -> None:
    for here, there in zip(list(found), list(expected), strict=True):
        for value, wanted in zip(here, there, strict=True):
            assert value.dtype == wanted.dtype
            np.testing.assert_array_equal(value, wanted, strict=True)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls of TFMA's function, by their arguments."""
    calls: list[dict[str, Any]] = []

    def read(inputs: Any, **named: Any) -> Any:
        calls.append(named)
        return TFMAS(inputs, **named)

    monkeypatch.setattr(reading, "_read", read)
    return calls


def test_it_reads_what_tfma_reads_however_often(counted: list[dict[str, Any]]) -> None:
    images = [_image(0), _image(1)]
    # The image that came before has to be read again.
    for image in (*images, images[0]):
        counted.clear()
        for _ in range(3):
            for config in CONFIGS:
                for asked in ASKED:
                    named = {"eval_config": config, **asked}
                    _same(reading.read(image, **named), TFMAS(image, **named))
        weighted = [named for named in counted if "class_weights" in named]
        # Twice for each configuration and way to ask but one: weights of classes are read anew.
        assert len(counted) - len(weighted) == len(CONFIGS) * (len(ASKED) - 1)
        assert len(weighted) == 3 * len(CONFIGS)


def test_nobody_writes_into_what_others_read() -> None:
    image = _image(0)
    (read,) = reading.read(image, eval_config=CONFIGS[0], flatten=False)
    for values in read:
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0
    image["predictions"]["answer"][...] = 0.5


def test_tfma_reads_so_inside_the_block_alone() -> None:
    assert VERSION in reading.COMPARED, "compare the function, and add the version"

    def taken(function: Callable[..., Any]) -> set[Any]:
        return {each for each in function.__defaults__ or () if callable(each)}

    functions = (
        binary_confusion_matrices.binary_confusion_matrices,
        binary_confusion_matrices._binary_confusion_matrix_computation,
    )
    with reading.read_once():
        assert metric_util.to_label_prediction_example_weight is reading.read
        assert [taken(function) for function in functions] == [{reading.read}] * 2
        list(reading.read(_image(0), eval_config=CONFIGS[0]))
        assert reading._Last.kept[1]
    assert metric_util.to_label_prediction_example_weight is TFMAS
    assert [taken(function) for function in functions] == [{TFMAS}] * 2
    assert reading._Last.kept == (None, {})


def test_another_version_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COMPARED", ())
    with reading.read_once():
        assert metric_util.to_label_prediction_example_weight is TFMAS
