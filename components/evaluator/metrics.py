"""TFMA metrics of the gate: what a test split of some hundred images can tell.

Used by name from an EvalConfig (`class_name` and `module`), so that the Evaluator itself
computes and judges them. All are per slice, of integer labels and one probability a class,
and count images: example weights and binarized classes are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apache_beam as beam
import numpy as np
from scipy.stats import binomtest
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from common.intervals import wilson, wilson_by_group
from schema import contract
from schema.contract import (
    CONFIDENCE_CURVE,
    FEW_PATIENTS_LOWER,
    MCNEMAR_P,
    ONLY_BASELINE_RIGHT,
    ONLY_CANDIDATE_RIGHT,
    PATIENTS,
    WILSON_LOWER,
)

# 0.00, 0.01 … 1.00. Divided, not summed up: 0.29 is what a user's 0.29 is.
CONFIDENCE_THRESHOLDS: Final[np.ndarray] = np.arange(101) / 100
# Probabilities are float32, and 0.9 as float32 is less than 0.9: compared as what they are.
_THRESHOLDS_32: Final[np.ndarray] = CONFIDENCE_THRESHOLDS.astype(np.float32)


def wilson_lower(right: int, total: int, confidence: float = 0.95) -> float:
    """Lower end of the two-sided Wilson score interval of a share.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22 (1927), 209–212; as `scipy.stats` computes it.

    Args:
        right: successes, 0..total.
        total: trials, at least 1.
        confidence: of the interval, 0..1.

    Returns:
        0..1, and below 1 whatever the counts.
    """
    return wilson(right, total, confidence)[0]


def mcnemar_p(only_candidate: int, only_baseline: int) -> float:
    """Test by McNemar, one-sided and exact: is the candidate worse on the same images?

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions
    or percentages", Psychometrika 12 (1947), 153–157, with the binomial distribution instead
    of its approximation. Images that both models get right, or both wrong, say nothing. If
    neither model were better, each other image would be a fair coin:
    p = P(X >= only_baseline), X ~ Binomial(only_candidate + only_baseline, 1/2).

    Args:
        only_candidate: images that the candidate alone gets right.
        only_baseline: images that the baseline alone gets right.

    Returns:
        0..1; a small one speaks for "worse". By convention 1.0 if there is no such image.
    """
    discordant = only_candidate + only_baseline
    if not discordant:
        return 1.0
    return float(binomtest(only_baseline, discordant, 0.5, alternative="greater").pvalue)


class AccuracyWilsonLower(metric_types.Metric):
    """Lower end of the Wilson interval of the accuracy, by patient (`wilson_by_group`), a float.

    The predicted class is the first of the most probable ones, as in Keras'
    SparseCategoricalAccuracy.
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
        super().__init__(_by_patient_computations, name=name, confidence=confidence)


class FewPatientsLower(metric_types.Metric):
    """`wilson_lower` by patient, where patients are so few that it has to decide; else 1.0.

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
    """`wilson_lower` of a slice that has enough images to be judged, else 1.0; a float64.

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
        _computation(_Accuracy(Judge(eval_config, model), _key(name, model), min_images))
        for model in model_names or [""]
    ]


def _by_patient_computations(
    name: str,
    confidence: float,
    min_images: int = 0,
    only_few: bool = False,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    found = []
    for model in model_names or [""]:
        keys = [_key(name, model), *([_key(f"{name}{PATIENTS}", model)] if only_few else [])]
        judge = Judge(eval_config, model)
        found.append(
            metric_types.MetricComputation(
                keys=keys,
                preprocessors=[
                    metric_types.FeaturePreprocessor(feature_keys=[contract.GROUP, contract.SHA256])
                ],
                combiner=_ByPatient(judge, keys, confidence, min_images, only_few),
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
        _computation(_Pairs(Judge(eval_config, model), baseline, name))
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
        _computation(_Curve(Judge(eval_config, model), _key(name, model)))
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


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    return metric_types.MetricKey(name=name, model_name=model_name)


def _computation(combiner: _Counts) -> metric_types.MetricComputation:
    return metric_types.MetricComputation(keys=combiner.keys, preprocessors=None, combiner=combiner)


class Judge:
    """A reader of one model's answer to one image."""

    def __init__(self, eval_config: config_pb2.EvalConfig | None, model_name: str) -> None:
        """Judge the model that TFMA calls so; "" where there is only one."""
        self._eval_config = eval_config
        self.model_name = model_name
        self._last: tuple[Any, tuple[int, np.ndarray]] | None = None

    def read(self, element: metric_types.StandardMetricInputs) -> tuple[int, np.ndarray]:
        """Read the label, and the probabilities, float32 [classes].

        Raises:
            ValueError: the label is not one class index of the predictions.
        """
        # One and the same element comes once for each slice that it is in, one after the other.
        last = self._last
        if last is None or last[0] is not element:
            last = self._last = element, self._read(element)
        return last[1]

    def _read(self, element: metric_types.StandardMetricInputs) -> tuple[int, np.ndarray]:
        (answer,) = metric_util.to_label_prediction_example_weight(
            element, eval_config=self._eval_config, model_name=self.model_name, flatten=False
        )
        label, probabilities = (np.asarray(value).reshape(-1) for value in answer[:2])
        if label.size != 1 or not 0 <= label[0] < probabilities.size:
            raise ValueError(
                f"the label {label.tolist()} is no index of one of {probabilities.size} classes"
            )
        return int(label[0]), probabilities.astype(np.float32)

    def __call__(self, element: metric_types.StandardMetricInputs) -> tuple[bool, np.float32]:
        """Return whether the answer is right, and how sure the model is of it (see `read`)."""
        label, probabilities = self.read(element)
        predicted = int(np.argmax(probabilities))
        return predicted == label, probabilities[predicted]


class _Counts(beam.CombineFn):
    """A counter of images by bin; accumulators are int64 arrays, and merge as sums."""

    def __init__(self, keys: list[metric_types.MetricKey], shape: tuple[int, ...]) -> None:
        self.keys = keys
        self._shape = shape

    def bin_of(self, element: metric_types.StandardMetricInputs) -> tuple[int, ...]:
        """Return where one image is counted."""
        raise NotImplementedError

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(self._shape, np.int64)

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        accumulator[self.bin_of(element)] += 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())


class _Accuracy(_Counts):
    """[wrong, right]; of fewer than `min_images` the value is 1.0."""

    def __init__(
        self,
        judge: Judge,
        key: metric_types.MetricKey,
        min_images: int,
    ) -> None:
        super().__init__([key], (2,))
        self._judge = judge
        self._min_images = min_images

    def bin_of(self, element: metric_types.StandardMetricInputs) -> tuple[int, ...]:
        right, _ = self._judge(element)
        return (int(right),)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        wrong, right = accumulator.tolist()
        return {self.keys[0]: self._value(right, wrong + right)}

    def _value(self, right: int, total: int) -> float:
        return 1.0 if total < self._min_images else float(right / total)


class _ByPatient(beam.CombineFn):
    """Patient -> [right answers, images]; an image without one stands alone."""

    def __init__(
        self,
        judge: Judge,
        keys: list[metric_types.MetricKey],
        confidence: float,
        min_images: int,
        only_few: bool,
    ) -> None:
        self._judge = judge
        self._keys = keys
        self._confidence = confidence
        self._min_images = min_images
        self._only_few = only_few

    def create_accumulator(self) -> dict[Any, tuple[int, int]]:
        return {}

    def add_input(
        self,
        accumulator: dict[Any, tuple[int, int]],
        element: metric_types.StandardMetricInputs,
    ) -> dict[Any, tuple[int, int]]:
        patient = _one(element, contract.GROUP) or _one(element, contract.SHA256)
        right, _ = self._judge(element)
        before = accumulator.get(patient, (0, 0))
        accumulator[patient] = before[0] + int(right), before[1] + 1
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[Any, tuple[int, int]]]
    ) -> dict[Any, tuple[int, int]]:
        merged: dict[Any, tuple[int, int]] = {}
        for accumulator in accumulators:
            for patient, (right, images) in accumulator.items():
                before = merged.get(patient, (0, 0))
                merged[patient] = before[0] + right, before[1] + images
        return merged

    def extract_output(
        self, accumulator: dict[Any, tuple[int, int]]
    ) -> dict[metric_types.MetricKey, float]:
        # Images without any digest are counted together; each stands alone.
        alone = accumulator.get(None, (0, 0))
        counts = [found for patient, found in accumulator.items() if patient is not None]
        counts += [(1, 1)] * alone[0] + [(0, 1)] * (alone[1] - alone[0])
        right, images = (np.array(each, np.int64) for each in zip(*counts, strict=True))
        patients = len(images)
        several = patients < int(images.sum())
        few = patients < contract.FEW_PATIENTS and several
        if images.sum() < self._min_images or (self._only_few and not few):
            lower = 1.0
        else:
            lower = wilson_by_group(right, images, self._confidence)[0]
        values = (lower, float(patients))
        return dict(zip(self._keys, values, strict=False))


def _one(element: metric_types.StandardMetricInputs, feature: str) -> Any:
    """Read a feature of one value; None where it isn't there."""
    values = np.asarray((element.features or {}).get(feature, ())).reshape(-1)
    return values[0] if values.size else None


class _Pairs(_Counts):
    """[candidate wrong or right, baseline wrong or right]; no baseline counts as wrong."""

    def __init__(self, candidate: Judge, baseline: Judge | None, name: str) -> None:
        counts = (ONLY_CANDIDATE_RIGHT, ONLY_BASELINE_RIGHT) if baseline else ()
        super().__init__([_key(n, candidate.model_name) for n in (name, *counts)], (2, 2))
        self._candidate = candidate
        self._baseline = baseline

    def bin_of(self, element: metric_types.StandardMetricInputs) -> tuple[int, ...]:
        candidate, _ = self._candidate(element)
        baseline, _ = self._baseline(element) if self._baseline else (False, None)
        return int(candidate), int(baseline)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        if self._baseline is None:
            return {self.keys[0]: 1.0}
        only_candidate, only_baseline = int(accumulator[1, 0]), int(accumulator[0, 1])
        values = (mcnemar_p(only_candidate, only_baseline), only_candidate, only_baseline)
        return dict(zip(self.keys, map(float, values), strict=True))


class _Curve(_Counts):
    """[thresholds reached, wrong or right]; 0 are reached by what is no number."""

    def __init__(self, judge: Judge, key: metric_types.MetricKey) -> None:
        super().__init__([key], (len(_THRESHOLDS_32) + 1, 2))
        self._judge = judge

    def bin_of(self, element: metric_types.StandardMetricInputs) -> tuple[int, ...]:
        right, confidence = self._judge(element)
        return int(np.count_nonzero(confidence >= _THRESHOLDS_32)), int(right)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, np.ndarray]:
        # Who reaches k thresholds, the first k, is answered at each of them.
        at_least = np.cumsum(accumulator[::-1], axis=0)[::-1][1:]
        columns = (CONFIDENCE_THRESHOLDS, at_least.sum(axis=1), at_least[:, 1])
        return {self.keys[0]: np.stack(columns, axis=1).astype(np.float64)}
