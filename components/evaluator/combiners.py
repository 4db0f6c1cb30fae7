"""CombineFns behind the gate's metrics: counts of the images that TFMA hands over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import apache_beam as beam
import numpy as np
from scipy.stats import binomtest
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from common.intervals import wilson_by_group
from schema import contract
from schema.contract import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT

# 0.00, 0.01 … 1.00. Divided, not summed up: 0.29 is what a user's 0.29 is.
CONFIDENCE_THRESHOLDS: Final[np.ndarray] = np.arange(101) / 100
# Probabilities are float32, and 0.9 as float32 is less than 0.9: compared as what they are.
_THRESHOLDS_32: Final[np.ndarray] = CONFIDENCE_THRESHOLDS.astype(np.float32)


# What ByPatient says: the ends of the interval, and the number of patients.
LOWER: Final = "lower"
UPPER: Final = "upper"
HOW_MANY: Final = "patients"


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


def key_of(name: str, model_name: str) -> metric_types.MetricKey:
    """Return the key of a metric of one model; "" where there is only one."""
    return metric_types.MetricKey(name=name, model_name=model_name)


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


class Counts(beam.CombineFn):
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


class Accuracy(Counts):
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
        total = wrong + right
        return {self.keys[0]: 1.0 if total < self._min_images else float(right / total)}


class ByPatient(beam.CombineFn):
    """Patient -> [right answers, images]; an image without one stands alone."""

    def __init__(
        self,
        judge: Judge,
        keys: Mapping[str, metric_types.MetricKey],
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
            lower = upper = 1.0
        else:
            lower, upper = wilson_by_group(right, images, self._confidence)
        values = {LOWER: lower, UPPER: upper, HOW_MANY: float(patients)}
        return {key: values[what] for what, key in self._keys.items()}


def _one(element: metric_types.StandardMetricInputs, feature: str) -> Any:
    """Read a feature of one value; None where it isn't there."""
    values = np.asarray((element.features or {}).get(feature, ())).reshape(-1)
    return values[0] if values.size else None


class Pairs(Counts):
    """[candidate wrong or right, baseline wrong or right]; no baseline counts as wrong."""

    def __init__(self, candidate: Judge, baseline: Judge | None, name: str) -> None:
        counts = (ONLY_CANDIDATE_RIGHT, ONLY_BASELINE_RIGHT) if baseline else ()
        super().__init__([key_of(n, candidate.model_name) for n in (name, *counts)], (2, 2))
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


class Curve(Counts):
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
