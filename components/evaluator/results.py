"""Reads what Evaluator found out about a model on the test split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from components.evaluator.configuration import FEW_PATIENTS
from schema.contract import (
    ACCURACY,
    COLUMN_PREFIX,
    CONFIDENCE_CURVE,
    EXAMPLE_COUNT,
    FEW_PATIENTS_LOWER,
    GATE_SLICES,
    MCNEMAR_P,
    ONLY_BASELINE_RIGHT,
    ONLY_CANDIDATE_RIGHT,
    PATIENTS,
    SERVED_DIFFERENCE,
    SLICE_FEATURES,
    SLICE_NAMES,
    TABLE_SLICE_PREFIX,
    WILSON_LOWER,
    WILSON_UPPER,
)

BASELINE_ACCURACY = "baseline_accuracy"
_NAMES: Final = {feature: name.replace("_", " ") for name, feature in SLICE_NAMES.items()}

# ((feature, value),), as TFMA writes it; empty for the whole test split.
SliceKey = tuple[tuple[str, Any], ...]


def candidate_result(evaluation_uri: str) -> tfma.EvalResult:
    """Read what TFMA computed of the candidate.

    TFMA names the models only where there are two, the candidate and the baseline; asked
    for no name, it then finds metrics, but no plots.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.
    """
    result = _read(evaluation_uri)
    return result if result.plots else _read(evaluation_uri, tfma.CANDIDATE_KEY)


# More than a run has models. Cards and report ask for an evaluation a dozen times, and TFMA takes a
# tenth of a second or two for each reading. The content of an artifact doesn't change.
@lru_cache(maxsize=32)
def _read(evaluation_uri: str, model_name: str | None = None) -> tfma.EvalResult:
    return tfma.load_eval_result(evaluation_uri, model_name=model_name)


def confidence_curve(evaluation_uri: str, slice_key: SliceKey = ()) -> list[tuple[float, int, int]]:
    """Compute how the candidate would fare if it answered only when sure.

    Coverage at a threshold is its answered images over those answered at 0.00, accuracy its
    right ones over its answered ones.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.
        slice_key: of the images, as TFMA writes it, such as (("sex", "F"),); all where empty.

    Returns:
        (threshold, answered, right) for each threshold from 0.00 to 1.00 in steps of 0.01:
        images whose highest probability is at least the threshold, and how many of them the
        candidate gets right.

    Raises:
        KeyError: no such slice, or an evaluation from before there was this metric.
    """
    metrics = metrics_of(candidate_result(evaluation_uri), slice_key)
    if CONFIDENCE_CURVE not in metrics:
        raise KeyError(f"{evaluation_uri} holds no {CONFIDENCE_CURVE}")
    value = metrics[CONFIDENCE_CURVE]["arrayValue"]
    rows = np.reshape(value["float64Values"], value["shape"]).tolist()
    return [(threshold, round(answered), round(right)) for threshold, answered, right in rows]


def gate_figures(evaluation_uri: str) -> dict[str, float]:
    """Read what the gate looks at, on the whole test split.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.

    Returns:
        Accuracy and the lower end of its Wilson interval; where there was a baseline also its
        accuracy, McNemar's p, and how many images only one of both gets right.
    """
    metrics = metrics_of(candidate_result(evaluation_uri))
    figures = {name: _number(metrics, name) for name in (ACCURACY, WILSON_LOWER)}
    if ONLY_BASELINE_RIGHT in metrics:
        baseline = _read(evaluation_uri, tfma.BASELINE_KEY)
        figures[BASELINE_ACCURACY] = _number(metrics_of(baseline), ACCURACY)
        figures[MCNEMAR_P] = _number(metrics, MCNEMAR_P)
        for name in (ONLY_CANDIDATE_RIGHT, ONLY_BASELINE_RIGHT):
            figures[name] = round(_number(metrics, name))
    return figures


def accuracy_interval(metrics: Mapping[str, Any]) -> list[float]:
    """Read the 95 % Wilson interval of an accuracy, over patients.

    Args:
        metrics: TFMA's of a slice, or of all images, by name.

    Returns:
        Lower and upper end, 0..1.

    Raises:
        KeyError: an evaluation from before the upper end was kept.
    """
    if WILSON_UPPER not in metrics:
        raise KeyError(
            f"the evaluation holds no {WILSON_UPPER}: an earlier version of this project made it; "
            "run the pipeline again"
        )
    return [_number(metrics, name) for name in (WILSON_LOWER, WILSON_UPPER)]


def refusal(evaluation_uri: str) -> str | None:
    """Say why the gate refused the candidate, from TFMA's own verdict.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.

    Returns:
        The reasons with their figures and the fields that ask for them, without a full stop;
        None for a model that passed.
    """
    verdict = tfma.load_validation_result(evaluation_uri)
    if verdict.validation_ok:
        return None
    result, figures = candidate_result(evaluation_uri), gate_figures(evaluation_uri)
    # Beam writes slices in any order. Here: the whole test split, which has no key, then by item.
    failures = sorted(
        (
            (_slice_key(part), failure)
            for part in verdict.metric_validations_per_slice
            for failure in part.failures
        ),
        key=lambda found: (
            bool(found[0]),
            _item(found[1]),
            str(found[0]),
            found[1].metric_key.name,
        ),
    )
    reasons = [
        _reason_of_slice(failure, key, metrics_of(result, key))
        if key
        else _reason(failure, figures, metrics_of(result))
        for key, failure in failures
    ]
    reasons += [_missing(spec, result.config) for spec in verdict.missing_slices]
    return "; ".join(reasons)


def abstaining(
    threshold: float, curve: Sequence[tuple[float, int, int]]
) -> dict[str, float | None]:
    """Compute how a model fares on the test split when it abstains as it was told to.

    Args:
        threshold: chosen on the validation split; answers that are less sure are withheld.
        curve: `confidence_curve` of the test split.

    Returns:
        `threshold`; `coverage`, the share of images that are answered, and `accuracy` of
        those (None where there are none), both at `judged_at`: the curve's first threshold
        that isn't lower (None above 1, where nothing is answered).
    """
    total = curve[0][1]
    at_or_above = (row for row in curve if row[0] >= threshold)
    judged_at, answered, right = next(at_or_above, (None, 0, 0))
    return {
        "threshold": threshold,
        "judged_at": judged_at,
        "coverage": answered / total,
        "accuracy": right / answered if answered else None,
    }


def confusion_matrix(evaluation_uri: str, n_classes: int) -> list[list[int]]:
    """Read the counts that TFMA wrote for the whole test split.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.
        n_classes: rows and columns.

    Returns:
        Rows true class, columns predicted class.
    """
    overall = next(plots for key, plots in candidate_result(evaluation_uri).plots if not key)
    matrices = overall[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
    counts = [[0] * n_classes for _ in range(n_classes)]
    for entry in matrices[0]["entries"]:
        row = int(entry.get("actualClassId", 0))
        column = int(entry.get("predictedClassId", 0))
        counts[row][column] = round(float(entry["numWeightedExamples"]))
    return counts


@dataclass(frozen=True)
class SliceCount:
    """The candidate's answers to a part of the test split.

    Attributes:
        feature: by which it was cut: one of `contract.SLICE_FEATURES`, or a further column's.
        value: of that feature.
        correct: images that the candidate gets right.
        total: images, at least 1.
        wilson95: of the share, over patients, both ends 0..1.
    """

    feature: str
    value: str
    correct: int
    total: int
    wilson95: list[float]


def slice_counts(evaluation_uri: str) -> list[SliceCount]:
    """Count how the candidate does on each slice by one feature.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.

    Returns:
        In the order of `contract.SLICE_FEATURES`, further columns by name behind them, then by
        value.
    """
    found = []
    for key, by_output in candidate_result(evaluation_uri).slicing_metrics:
        if len(key) == 1:
            ((feature, value),) = key
            metrics = by_output[""][""]
            total = round(_number(metrics, EXAMPLE_COUNT))
            # TFMA's accuracy is a float32, which tells counts below 2²⁴ apart.
            correct = round(_number(metrics, ACCURACY) * total)
            interval = accuracy_interval(metrics)
            found.append(SliceCount(feature, str(value), correct, total, interval))
    return sorted(found, key=lambda item: (*place(item.feature, SLICE_FEATURES), item.value))


def place(feature: str, order: Sequence[str]) -> tuple[int, str]:
    """Sort features in an order, and those that are not in it behind it, by name."""
    return (order.index(feature), "") if feature in order else (len(order), feature)


def slice_name(feature: str) -> str:
    """Return what people call a feature that TFMA slices by: `patient/age_group` is "age group"."""
    if feature in _NAMES:
        return _NAMES[feature]
    if feature.startswith(TABLE_SLICE_PREFIX):
        # A further column may have the same name.
        return f"{feature.removeprefix(TABLE_SLICE_PREFIX)} (feature)"
    column = feature.removeprefix(COLUMN_PREFIX)
    # Two features must not go by one name.
    return feature if column in _NAMES.values() else column


def _reason(
    failure: validation_result_pb2.ValidationFailure,
    figures: dict[str, float],
    metrics: dict[str, Any],
) -> str:
    name, threshold = failure.metric_key.name, failure.metric_threshold
    bound = _bound(failure)
    accuracy = f"accuracy {figures[ACCURACY]:.4f}"
    if name == ACCURACY and threshold.HasField("change_threshold"):
        return (
            f"{accuracy} is below the baseline's {figures[BASELINE_ACCURACY]:.4f} "
            "(gate.against_baseline)"
        )
    if name == ACCURACY:
        return f"{accuracy} is below {bound} (gate.min_accuracy)"
    if name == WILSON_LOWER:
        return (
            f"the 95 % Wilson interval of {accuracy} begins at {figures[WILSON_LOWER]:.4f}, "
            f"below {bound} (gate.min_wilson_lower)"
        )
    if name == FEW_PATIENTS_LOWER:
        return _too_few(failure, accuracy, metrics, "gate")
    if name == MCNEMAR_P:
        return (
            f"{accuracy} is significantly below the baseline's "
            f"{figures[BASELINE_ACCURACY]:.4f}: {figures[ONLY_BASELINE_RIGHT]} images only the "
            f"baseline got right, {figures[ONLY_CANDIDATE_RIGHT]} only the new model, McNemar's "
            f"p {figures[MCNEMAR_P]:.2g} is not above {bound} (gate.baseline_significance)"
        )
    if name == SERVED_DIFFERENCE:
        found = failure.metric_value.double_value.value
        allowed = failure.metric_threshold.value_threshold.upper_bound.value
        return (
            f"on sampled test images the SavedModel's probabilities are up to {found:.3g} from "
            f"the judged ones, more than {allowed:.3g}: it is not the model that was judged"
        )
    return _other(failure)


def _reason_of_slice(
    failure: validation_result_pb2.ValidationFailure, key: SliceKey, metrics: dict[str, Any]
) -> str:
    # The metric is named as the field of the configuration that asks for it.
    field = failure.metric_key.name
    if not field.startswith(f"{GATE_SLICES}."):
        return _other(failure)
    images = round(_number(metrics, EXAMPLE_COUNT))
    where = " and ".join(f"{_short(name)} {value!r}" for name, value in key)
    accuracy = (
        f"accuracy {_number(metrics, ACCURACY):.4f} on the {images} test "
        f"{'image' if images == 1 else 'images'} with {where}"
    )
    if field.endswith(f".{FEW_PATIENTS}"):
        return _too_few(failure, accuracy, metrics, field.rpartition(".")[0])
    if field.endswith(".min_accuracy"):
        return f"{accuracy} is below {_bound(failure)} ({field})"
    begins = failure.metric_value.double_value.value
    return (
        f"the 95 % Wilson interval of {accuracy} begins at {begins:.4f}, "
        f"below {_bound(failure)} ({field})"
    )


def _too_few(
    failure: validation_result_pb2.ValidationFailure,
    accuracy: str,
    metrics: dict[str, Any],
    asked_by: str,
) -> str:
    name = failure.metric_key.name
    patients = round(_number(metrics, f"{name}{PATIENTS}"))
    return (
        f"{patients} {'patient is' if patients == 1 else 'patients are'} too few to say that "
        f"{_bound(failure)} is reached ({asked_by}.min_accuracy): the 95 % interval over patients "
        f"of {accuracy} begins at {failure.metric_value.double_value.value:.4f}; test more "
        "patients, or set gate.few_patients to allow"
    )


def _missing(spec: config_pb2.SlicingSpec, config: config_pb2.EvalConfig) -> str:
    """Say why TFMA refuses a model of which nothing is known: no image is in the slice."""
    fields = [
        # `gate.slices.<index>`, without the criterion: it is the value that no image has.
        json.loads(f"{{{metric.config}}}")["name"].rpartition(".")[0]
        for metrics_spec in config.metrics_specs
        for metric in metrics_spec.metrics
        for threshold in metric.per_slice_thresholds
        if spec in threshold.slicing_specs and f'"{GATE_SLICES}.' in metric.config
    ]
    asked_by = ", ".join(f"{field}.value" for field in dict.fromkeys(fields))
    values = [f"{_short(name)} {value!r}" for name, value in sorted(spec.feature_values.items())]
    values += [f"any {_short(name)}" for name in spec.feature_keys]
    return f"no test image has {' and '.join(values)} ({asked_by or GATE_SLICES})"


def _bound(failure: validation_result_pb2.ValidationFailure) -> str:
    # Six digits take back the rounding that components/evaluator/eval_config.py lays on the bounds.
    return f"{failure.metric_threshold.value_threshold.lower_bound.value:.6g}"


def _other(failure: validation_result_pb2.ValidationFailure) -> str:
    value = failure.metric_value.double_value.value
    return f"{failure.metric_key.name}: {failure.message or value}"


def _item(failure: validation_result_pb2.ValidationFailure) -> int:
    """Find which of `gate.slices` asks for it; 0 where none does."""
    return next((int(part) for part in failure.metric_key.name.split(".") if part.isdigit()), 0)


def _short(feature: str) -> str:
    """Return the configuration's name of what TFMA slices by."""
    column = feature.removeprefix(COLUMN_PREFIX)
    return next((name for name, long in SLICE_NAMES.items() if long == feature), column)


def _slice_key(of_slice: validation_result_pb2.MetricsValidationForSlice) -> SliceKey:
    key: SliceKey = slicer_lib.deserialize_slice_key(of_slice.slice_key)
    return key


def metrics_of(result: tfma.EvalResult, slice_key: SliceKey = ()) -> dict[str, Any]:
    """Return TFMA's metrics of a slice by name; of all images where no slice is named.

    Raises:
        KeyError: no such slice.
    """
    for key, by_output in result.slicing_metrics:
        if key == slice_key:
            metrics: dict[str, Any] = by_output[""][""]
            return metrics
    raise KeyError(f"slice {slice_key} is none of the evaluation's")


def _number(metrics: Mapping[str, Any], name: str) -> float:
    return float(metrics[name]["doubleValue"])
