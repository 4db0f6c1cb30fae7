"""The configuration of what TFMA computes on the test split, and of the gate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.constants import MATERIALIZED_PREDICTION
from tensorflow_model_analysis.proto import config_pb2

from common.code_digest import code_digest
from components.evaluator.answers import Answers, ServedDifference
from components.evaluator.configuration import (
    FEW_PATIENTS,
    REFUSE,
    FewPatients,
    SliceGateConfig,
)
from components.evaluator.metrics import (
    AccuracyWilsonLower,
    ConfidenceCurve,
    FewPatientsLower,
    McNemarPValue,
    SliceAccuracy,
    SliceWilsonLower,
)
from schema import contract

_METRICS: Final = ("components.evaluator.answers", "components.evaluator.metrics")
# Of more classes, TFMA counts no class against the rest: its time grows with classes times slices,
# and the report has the same of each class from the answers themselves.
MOST_BINARIZED: Final = 12
# The floor of "not worse": a candidate with the baseline's own accuracy passes.
_NOT_WORSE = 0.0


def reached(min_accuracy: float) -> float:
    """Compute the bound that TFMA's accuracy has to be at or above.

    TFMA hands over a float32: 0.9 of the images reads 0.89999998, which is below 0.9. The
    next float32 below is less than any two accuracies of under a million images differ.
    """
    return float(np.nextafter(np.float32(min_accuracy), np.float32(-1)))


def _significant(level: float) -> float:
    """Compute the bound of McNemar's p: at or above it, p is insignificant at the level.

    A p that equals the level is significant, and TFMA's bounds belong to what passes. p is
    exact but for rounding, which one part in 10⁹ is far above.
    """
    return min(level * (1 + 1e-9), 1.0)


def _at_least(bound: float) -> config_pb2.MetricThreshold:
    return config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": bound})
    )


def _gated(
    metric: config_pb2.MetricConfig,
    threshold: config_pb2.MetricThreshold | None,
    on: config_pb2.SlicingSpec | None = None,
) -> config_pb2.MetricConfig:
    """Put a threshold on the metric for what a SlicingSpec names; the empty one is the whole split.

    `MetricConfig.threshold` would gate every slice.
    """
    if threshold is not None:
        metric.per_slice_thresholds.add(
            slicing_specs=[on or config_pb2.SlicingSpec()], threshold=threshold
        )
    return metric


def _accuracy(min_accuracy: float, not_below_baseline: bool) -> config_pb2.MetricConfig:
    threshold = _at_least(reached(min_accuracy))
    if not_below_baseline:
        threshold.change_threshold.CopyFrom(
            config_pb2.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                absolute={"value": _NOT_WORSE},
            )
        )
    metric = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy", config=f'"name": "{contract.ACCURACY}"'
    )
    return _gated(metric, threshold)


def _own(metric: type[tfma.metrics.Metric], **fields: Any) -> config_pb2.MetricConfig:
    """Configure one of this project's metrics, by import path; its name is the default, if any."""
    # Evaluator has no custom_config: this is how an edit reaches its cache key.
    fields["code_digest"] = code_digest(*_METRICS)
    return config_pb2.MetricConfig(
        class_name=metric.__name__,
        module=metric.__module__,
        # TFMA wants an object's JSON without its braces.
        config=json.dumps(fields)[1:-1],
    )


def _small_sample_metrics(
    min_wilson_lower: float | None,
    against_baseline: bool,
    baseline_significance: float | None,
    few_patients: float | None,
) -> list[config_pb2.MetricConfig]:
    """List metrics that are computed in any case: the report shows them, asked for or not."""
    lower = None if min_wilson_lower is None else _at_least(min_wilson_lower)
    few = None if few_patients is None else _at_least(few_patients)
    metrics = [
        _gated(_own(AccuracyWilsonLower), lower),
        _gated(_own(FewPatientsLower), few),
        _own(ConfidenceCurve),
        _own(Answers),
    ]
    if against_baseline:
        level = baseline_significance
        p = None if level is None else _at_least(_significant(level))
        metrics.append(_gated(_own(McNemarPValue), p))
    return metrics


def _served_metrics(served_within: float | None) -> list[config_pb2.MetricConfig]:
    if served_within is None:
        return []
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(upper_bound={"value": served_within})
    )
    return [_gated(_own(ServedDifference), threshold)]


def _answered(name: str, key: str) -> config_pb2.ModelSpec:
    """Describe a model whose answers are in the records: TFMA loads none."""
    return config_pb2.ModelSpec(
        name=name,
        model_type=MATERIALIZED_PREDICTION,
        label_key=contract.LABEL,
        prediction_key=key,
        is_baseline=name == tfma.BASELINE_KEY,
    )


def _column(name: str) -> str:
    return f"{contract.COLUMN_PREFIX}{name}"


def _feature(name: str) -> str:
    return f"{contract.TABLE_SLICE_PREFIX}{name}"


def _of_slices(
    slices: Sequence[SliceGateConfig], few_patients: FewPatients
) -> Iterator[config_pb2.MetricsSpec]:
    """Yield an item's metrics, each named as the field that asks for it, whose bound it carries.

    The bounds are taken as they are: unlike TFMA's accuracy, these metrics are float64, and
    the quotient of two counts is the double that the same share is in the configuration.
    """
    for index, part in enumerate(slices):
        feature = contract.SLICE_NAMES.get(part.feature, _column(part.feature))
        on = (
            config_pb2.SlicingSpec(feature_keys=[feature])
            if part.value is None
            else config_pb2.SlicingSpec(feature_values={feature: part.value})
        )
        asked = (
            (SliceAccuracy, "min_accuracy", part.min_accuracy),
            (SliceWilsonLower, "min_wilson_lower", part.min_wilson_lower),
            (FewPatientsLower, FEW_PATIENTS, part.min_accuracy if few_patients == REFUSE else None),
        )
        yield config_pb2.MetricsSpec(
            metrics=[
                _gated(
                    _own(
                        metric,
                        name=f"{contract.GATE_SLICES}.{index}.{field}",
                        min_images=part.min_images,
                    ),
                    _at_least(bound),
                    on,
                )
                for metric, field, bound in asked
                if bound is not None
            ]
        )


def _per_class(n_classes: int) -> config_pb2.MetricsSpec:
    def metric(class_name: str, name: str) -> config_pb2.MetricConfig:
        return config_pb2.MetricConfig(class_name=class_name, config=f'"name": "{name}"')

    return config_pb2.MetricsSpec(
        metrics=[
            metric("Precision", "precision"),
            metric("Recall", "recall"),
            metric("F1Score", "f1"),
            metric("AUC", "auc"),
            metric("FNR", "false_negative_rate"),
            metric("FPR", "false_positive_rate"),
            config_pb2.MetricConfig(class_name="CalibrationPlot", config='"num_buckets": 10'),
        ],
        binarize=config_pb2.BinarizationOptions(class_ids={"values": list(range(n_classes))}),
    )


def eval_config(
    *,
    n_classes: int,
    min_accuracy: float,
    against_baseline: bool,
    served_within: float | None = None,
    min_wilson_lower: float | None = None,
    baseline_significance: float | None = None,
    few_patients: FewPatients = REFUSE,
    slices: Sequence[SliceGateConfig] = (),
    columns: Sequence[str] = (),
    features: Sequence[str] = (),
) -> config_pb2.EvalConfig:
    """Build TFMA's configuration, with the gate in it.

    Args:
        n_classes: for the metrics of one class against the rest, up to MOST_BINARIZED.
        min_accuracy: blessed from here on.
        against_baseline: and not worse than the baseline on the same images.
        served_within: and the exported SavedModel's probabilities no farther from the judged
            ones than this, on the images that it was asked about; not asked for where None.
        min_wilson_lower: and the lower end of the accuracy's 95 % Wilson interval not below
            this, 0..1; not asked for where None.
        baseline_significance: "worse" is: significantly so at this level, 0..1, in McNemar's
            test. Where None: any lower accuracy.
        few_patients: whether it is refused, too, where patients of several images are so few that
            the interval over them doesn't lie above an accuracy that is asked for.
        slices: and reaching what is asked for on these parts of the test split. TFMA refuses
            a model, too, if a part that is named by its value has no image at all.
        columns: of the metadata, beyond the contract's, to slice by as well.
        features: columns that models take (`schema.table`), to slice by as well: by the quarters
            of numbers, the words of categories, and whether there is a text.
    """
    return config_pb2.EvalConfig(
        model_specs=[
            _answered(tfma.CANDIDATE_KEY, contract.ANSWER),
            # Evaluator takes it out where no baseline is found.
            *([_answered(tfma.BASELINE_KEY, contract.BASELINE_ANSWER)] if against_baseline else []),
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(
                config_pb2.SlicingSpec(feature_keys=[name])
                for name in (
                    *contract.SLICE_FEATURES,
                    *map(_column, columns),
                    *map(_feature, features),
                )
            ),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    _accuracy(min_accuracy, against_baseline and baseline_significance is None),
                    *_small_sample_metrics(
                        min_wilson_lower,
                        against_baseline,
                        baseline_significance,
                        min_accuracy if few_patients == REFUSE else None,
                    ),
                    *_served_metrics(served_within),
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
                    config_pb2.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
                ]
            ),
            *([_per_class(n_classes)] if n_classes <= MOST_BINARIZED else []),
            *_of_slices(slices, few_patients),
        ],
    )
