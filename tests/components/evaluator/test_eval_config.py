"""Where exactly the gate opens."""

from __future__ import annotations

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow_model_analysis as tfma  # noqa: E402
from tensorflow_model_analysis.evaluators import metrics_validator  # noqa: E402
from tensorflow_model_analysis.metrics import metric_types  # noqa: E402

from components.evaluator.eval_config import eval_config  # noqa: E402
from schema import contract  # noqa: E402


def _blessed(accuracy: np.float32, min_accuracy: float, baseline: np.float32 | None = None) -> bool:
    """What TFMA says of a model with this accuracy, which it computes in float32."""
    config = eval_config(
        n_classes=3, min_accuracy=min_accuracy, against_baseline=baseline is not None
    )
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=baseline is not None)
    name = tfma.CANDIDATE_KEY if baseline is not None else ""
    metrics = {
        metric_types.MetricKey(name="accuracy", model_name=name): accuracy,
        # Patients are not few.
        metric_types.MetricKey(name=contract.FEW_PATIENTS_LOWER, model_name=name): 1.0,
    }
    if baseline is not None:
        difference = metric_types.MetricKey(name="accuracy", model_name=name, is_diff=True)
        metrics[difference] = accuracy - baseline
    return bool(metrics_validator.validate_metrics(((), metrics), config).validation_ok)


@pytest.mark.parametrize(
    ("correct", "total", "min_accuracy"),
    [(9, 10, 0.9), (54, 60, 0.9), (45, 50, 0.9), (7, 10, 0.7), (19, 20, 0.95), (3, 3, 1.0)],
)
def test_an_accuracy_that_just_reaches_the_threshold_is_enough(
    correct: int, total: int, min_accuracy: float
) -> None:
    reached = np.float32(correct) / np.float32(total)
    assert _blessed(reached, min_accuracy)
    assert not _blessed(np.float32(correct - 1) / np.float32(total), min_accuracy)


def test_as_good_as_the_baseline_is_good_enough_and_one_image_worse_is_not() -> None:
    accuracy, one_worse = np.float32(122) / np.float32(129), np.float32(121) / np.float32(129)
    assert _blessed(accuracy, 0.5, baseline=accuracy)
    assert _blessed(accuracy, 0.5, baseline=one_worse)
    assert not _blessed(one_worse, 0.5, baseline=accuracy)


def test_further_columns_are_sliced_by_behind_the_contracts() -> None:
    config = eval_config(
        n_classes=3, min_accuracy=0.5, against_baseline=False, columns=["unit", "licence"]
    )
    whole, *by = [list(spec.feature_keys) for spec in config.slicing_specs]
    assert whole == []
    further = ("metadata/unit", "metadata/licence")
    assert by == [[name] for name in (*contract.SLICE_FEATURES, *further)]
