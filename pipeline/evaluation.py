"""What TFMA computes on the test split, and the gate."""

from __future__ import annotations

import numpy as np
import tensorflow_model_analysis as tfma

from schema import contract

# The floor of "not worse": a candidate with the baseline's own accuracy passes.
_NOT_WORSE = 0.0


def _reached(min_accuracy: float) -> float:
    """The bound that TFMA's accuracy has to be at or above.

    TFMA hands over a float32: 0.9 of the images reads 0.89999998, which is below 0.9. The
    next float32 below is less than any two accuracies of under a million images differ.
    """
    return float(np.nextafter(np.float32(min_accuracy), np.float32(-1)))


def _accuracy(min_accuracy: float, against_baseline: bool) -> tfma.MetricConfig:
    threshold = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": _reached(min_accuracy)})
    )
    if against_baseline:
        threshold.change_threshold.CopyFrom(
            tfma.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                absolute={"value": _NOT_WORSE},
            )
        )
    # `MetricConfig.threshold` would gate every slice; the empty SlicingSpec is the whole
    # test split.
    whole = tfma.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)
    return tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config='"name": "accuracy"',
        per_slice_thresholds=[whole],
    )


def _per_class(n_classes: int) -> tfma.MetricsSpec:
    def metric(class_name: str, name: str) -> tfma.MetricConfig:
        return tfma.MetricConfig(class_name=class_name, config=f'"name": "{name}"')

    return tfma.MetricsSpec(
        metrics=[
            metric("Precision", "precision"),
            metric("Recall", "recall"),
            metric("F1Score", "f1"),
            metric("AUC", "auc"),
            metric("FNR", "false_negative_rate"),
            metric("FPR", "false_positive_rate"),
            tfma.MetricConfig(class_name="CalibrationPlot", config='"num_buckets": 10'),
        ],
        binarize=tfma.BinarizationOptions(class_ids={"values": list(range(n_classes))}),
    )


def eval_config(*, n_classes: int, min_accuracy: float, against_baseline: bool) -> tfma.EvalConfig:
    """TFMA's configuration.

    Args:
        n_classes: for the metrics of one class against the rest.
        min_accuracy: blessed from here on, on the whole test split.
        against_baseline: and not below the baseline's accuracy on the same images.
    """
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                # Keras 3 models load as generic SavedModels (never 'tf_keras').
                signature_name=contract.SIGNATURE_EXAMPLES,
                label_key=contract.LABEL,
                prediction_key=contract.OUTPUT_PROBABILITIES,
            )
        ],
        slicing_specs=[
            tfma.SlicingSpec(),
            *(tfma.SlicingSpec(feature_keys=[name]) for name in contract.SLICE_FEATURES),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    _accuracy(min_accuracy, against_baseline),
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(class_name="SparseCategoricalCrossentropy"),
                    tfma.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
                ]
            ),
            _per_class(n_classes),
        ],
    )
