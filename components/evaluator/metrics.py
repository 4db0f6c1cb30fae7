"""TFMA metrics of the gate: what a test split of some hundred images can tell.

Used by name from an EvalConfig (`class_name` and `module`), so that the Evaluator itself
computes and judges them. All are per slice, of integer labels and one probability a class,
and count images: example weights and binarized classes are refused.
"""

from __future__ import annotations

from typing import Any

from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from components.evaluator.combiners import (
    HOW_MANY,
    LOWER,
    UPPER,
    Accuracy,
    ByPatient,
    Counts,
    Curve,
    Judge,
    Pairs,
    key_of,
)
from schema import contract
from schema.contract import (
    CONFIDENCE_CURVE,
    FEW_PATIENTS_LOWER,
    MCNEMAR_P,
    PATIENTS,
    WILSON_LOWER,
    WILSON_UPPER,
)


class AccuracyWilsonLower(metric_types.Metric):
    """Lower end of the Wilson interval of the accuracy, by patient (`wilson_by_group`), a float.

    The predicted class is the first of the most probable ones, as in Keras'
    SparseCategoricalAccuracy. Beside it stands WILSON_UPPER, the upper end.
    """

    def __init__(
        self, name: str = WILSON_LOWER, confidence: float = 0.95, code_digest: str = ""
    ) -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            confidence: of the two-sided interval, between 0 and 1.
            code_digest: of this module; only has to stand in the configuration, and thereby
                in the Evaluator's cache key.

        Raises:
            ValueError: no such confidence.
        """
        _check_confidence(confidence)
        super().__init__(
            _by_patient_computations, name=name, confidence=confidence, upper=WILSON_UPPER
        )


class FewPatientsLower(metric_types.Metric):
    """Lower end of the interval by patient where few patients have to decide, else 1.0; a float.

    That is where a slice has fewer than `contract.FEW_PATIENTS` patients, and several images of
    one of them. Whoever asks that it reaches the bound of the accuracy asks that so few patients
    can decide. 1.0 for the reason that SliceAccuracy gives. Beside it stands PATIENTS, the number
    of patients.
    """

    def __init__(
        self,
        name: str = FEW_PATIENTS_LOWER,
        min_images: int = 1,
        confidence: float = 0.95,
        code_digest: str = "",
    ) -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            min_images: a slice with fewer isn't judged.
            confidence: of the two-sided interval, between 0 and 1.
            code_digest: as in AccuracyWilsonLower.

        Raises:
            ValueError: no such number of images, or no such confidence.
        """
        _check_enough(min_images)
        _check_confidence(confidence)
        super().__init__(
            _by_patient_computations,
            name=name,
            confidence=confidence,
            min_images=min_images,
            only_few=True,
        )


class SliceAccuracy(metric_types.Metric):
    """Accuracy of a slice that has enough images to be judged, else 1.0; a float64.

    TFMA's thresholds know no "only with enough images": a metric that a slice lacks refuses
    the model, and so does NaN. 1.0 is the one value that reaches every bound on an accuracy.
    It says that nothing speaks against the model, not that all images are right.
    """

    def __init__(self, name: str, min_images: int, code_digest: str = "") -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            min_images: that are enough, at least 1.
            code_digest: as in AccuracyWilsonLower.

        Raises:
            ValueError: no such number of images.
        """
        _check_enough(min_images)
        super().__init__(_accuracy_computations, name=name, min_images=min_images)


class SliceWilsonLower(metric_types.Metric):
    """AccuracyWilsonLower of a slice that has enough images to be judged, else 1.0; a float64.

    1.0 for the reason that SliceAccuracy gives; no real interval begins there.
    """

    def __init__(
        self, name: str, min_images: int, confidence: float = 0.95, code_digest: str = ""
    ) -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            min_images: that are enough, at least 1.
            confidence: of the two-sided interval, between 0 and 1.
            code_digest: as in AccuracyWilsonLower.

        Raises:
            ValueError: no such number of images, or no such confidence.
        """
        _check_enough(min_images)
        _check_confidence(confidence)
        super().__init__(
            _by_patient_computations, name=name, confidence=confidence, min_images=min_images
        )


class McNemarPValue(metric_types.Metric):
    """`mcnemar_p` of candidate and baseline, a float, and the counts behind it.

    The counts are metrics of their own, ONLY_CANDIDATE_RIGHT and ONLY_BASELINE_RIGHT, and
    there only if there is a baseline. Without one, in a first run, TFX removes the baseline's
    ModelSpec and all change thresholds from the EvalConfig, but no value threshold, and a
    threshold on a missing metric refuses the model. So the value is 1.0 then: nothing says
    that the candidate is worse than what doesn't exist.
    """

    def __init__(self, name: str = MCNEMAR_P, code_digest: str = "") -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the p-value.
            code_digest: as in AccuracyWilsonLower.
        """
        super().__init__(_mcnemar_computations, name=name)


class ConfidenceCurve(metric_types.Metric):
    """The number of images answered at a confidence threshold, and of those answered rightly.

    The value is a float64 array [101, 3]: threshold (CONFIDENCE_THRESHOLDS), images whose
    highest probability is at least that, and those of them whose predicted class is the label.
    """

    def __init__(self, name: str = CONFIDENCE_CURVE, code_digest: str = "") -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            code_digest: as in AccuracyWilsonLower.
        """
        super().__init__(_curve_computations, name=name)


# The parameters of the functions below have the names by which TFMA looks for them; without
# `example_weighted` and `class_weights` among them, it refuses weights itself.


def _accuracy_computations(
    name: str,
    min_images: int = 0,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    return [
        _computation(Accuracy(Judge(eval_config, model), key_of(name, model), min_images))
        for model in model_names or [""]
    ]


def _by_patient_computations(
    name: str,
    confidence: float,
    min_images: int = 0,
    only_few: bool = False,
    upper: str = "",
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    found = []
    for model in model_names or [""]:
        judge = Judge(eval_config, model)
        keys = {LOWER: key_of(name, model)}
        if only_few:
            keys[HOW_MANY] = key_of(f"{name}{PATIENTS}", model)
        if upper:
            keys[UPPER] = key_of(upper, model)
        found.append(
            metric_types.MetricComputation(
                keys=list(keys.values()),
                preprocessors=[
                    metric_types.FeaturePreprocessor(feature_keys=[contract.GROUP, contract.SHA256])
                ],
                combiner=ByPatient(judge, keys, confidence, min_images, only_few),
            )
        )
    return found


def _mcnemar_computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    spec = model_util.get_baseline_model_spec(eval_config) if eval_config else None
    baseline = Judge(eval_config, spec.name) if spec else None
    return [
        _computation(Pairs(Judge(eval_config, model), baseline, name))
        for model in model_names or [""]
        if baseline is None or model != baseline.model_name
    ]


def _curve_computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    return [
        _computation(Curve(Judge(eval_config, model), key_of(name, model)))
        for model in model_names or [""]
    ]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")


def _check_enough(min_images: int) -> None:
    if min_images < 1:
        raise ValueError(f"min_images: {min_images} is below 1")


def refuse_sub_keys(name: str, sub_keys: list[Any] | None) -> None:
    """Refuse to be computed class by class.

    Raises:
        ValueError: the metric stands under `binarize`.
    """
    if sub_keys and any(sub_keys):
        raise ValueError(f"{name} is of all classes at once: not under `binarize`")


def _computation(combiner: Counts) -> metric_types.MetricComputation:
    return metric_types.MetricComputation(keys=combiner.keys, preprocessors=None, combiner=combiner)
