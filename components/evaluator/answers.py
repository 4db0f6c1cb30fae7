"""TFMA metrics of the answers themselves: all of them, and whether serving gives the same.

Evaluator counts each answer and throws it away. What the report is about (curves, calibration,
which images were read wrongly, one model against another on the same images) needs the
answers themselves; kept here, they cost no second pass through the network, and they are the very
ones that were judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from components.evaluator.combiners import Judge
from components.evaluator.metrics import refuse_sub_keys
from schema import contract
from schema.contract import ANSWERED_IMAGES, ANSWERS, SERVED_DIFFERENCE


class Answers(metric_types.Metric):
    """The probabilities of every image, as two arrays of equal length, sorted by digest.

    ANSWERED_IMAGES is a text array [images], the digest of each image file; ANSWERS is a float64
    array [images, 1 + classes]: the label, and one probability a class, each of them exactly
    the float32 that the model answered.
    """

    def __init__(self, name: str = ANSWERS, code_digest: str = "") -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the probabilities.
            code_digest: as in `metrics.AccuracyWilsonLower`.
        """
        super().__init__(_computations, name=name)


class ServedDifference(metric_types.Metric):
    """The largest distance of the exported SavedModel's probabilities from those judged; a float.

    Of the images that Inferrer asked it about; 0 where there are none.
    """

    def __init__(self, name: str = SERVED_DIFFERENCE, code_digest: str = "") -> None:
        """Take the fields of `MetricConfig.config`, with which TFMA calls this.

        Args:
            name: of the metric.
            code_digest: as in `metrics.AccuracyWilsonLower`.
        """
        super().__init__(_served_computations, name=name)


# The names of the parameters are those by which TFMA looks for them.
def _computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    return [
        metric_types.MetricComputation(
            keys=_keys(name, model),
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=[contract.SHA256])],
            combiner=_Collected(Judge(eval_config, model), _keys(name, model)),
        )
        for model in model_names or [""]
    ]


def _served_computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    sub_keys: list[Any] | None = None,
) -> metric_types.MetricComputations:
    refuse_sub_keys(name, sub_keys)
    baseline = model_util.get_baseline_model_spec(eval_config) if eval_config else None
    return [
        metric_types.MetricComputation(
            keys=[metric_types.MetricKey(name=name, model_name=model)],
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=[contract.SERVED_ANSWER])],
            combiner=_Largest(Judge(eval_config, model), name),
        )
        for model in model_names or [""]
        # Of the candidate: what serves the baseline was judged when it was one.
        if baseline is None or model != baseline.name
    ]


def _keys(name: str, model_name: str) -> list[metric_types.MetricKey]:
    return [
        metric_types.MetricKey(name=key, model_name=model_name) for key in (ANSWERED_IMAGES, name)
    ]


class _Collected(beam.CombineFn):
    """Digest -> [label, probabilities…] of the images seen."""

    def __init__(self, judge: Judge, keys: list[metric_types.MetricKey]) -> None:
        self._judge = judge
        self._keys = keys

    def create_accumulator(self) -> dict[str, np.ndarray]:
        return {}

    def add_input(
        self, accumulator: dict[str, np.ndarray], element: metric_types.StandardMetricInputs
    ) -> dict[str, np.ndarray]:
        digests = np.asarray(element.features.get(contract.SHA256, [])).reshape(-1)
        if digests.size != 1:
            raise ValueError(f"{contract.SHA256}: an example of the test split lacks it")
        digest = digests[0].decode("ascii")
        label, probabilities = self._judge.read(element)
        accumulator[digest] = np.concatenate([[label], probabilities.astype(np.float64)])
        return accumulator

    def merge_accumulators(
        self, accumulators: list[dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        merged: dict[str, np.ndarray] = {}
        for accumulator in accumulators:
            merged.update(accumulator)
        return merged

    def extract_output(
        self, accumulator: dict[str, np.ndarray]
    ) -> dict[metric_types.MetricKey, np.ndarray]:
        digests = sorted(accumulator)
        rows = np.stack([accumulator[digest] for digest in digests])
        return {self._keys[0]: np.asarray(digests), self._keys[1]: rows}


class _Largest(beam.CombineFn):
    """The largest difference so far."""

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self._key = metric_types.MetricKey(name=name, model_name=judge.model_name)

    def create_accumulator(self) -> float:
        return 0.0

    def add_input(self, accumulator: float, element: metric_types.StandardMetricInputs) -> float:
        served = np.asarray(element.features.get(contract.SERVED_ANSWER, ()), np.float32)
        if not served.size:
            return accumulator
        _, judged = self._judge.read(element)
        difference = float(np.abs(served.reshape(-1) - judged).max())
        # NaN is as far off as can be: `max` would pass it over.
        return max(accumulator, difference if difference == difference else math.inf)

    def merge_accumulators(self, accumulators: Iterable[float]) -> float:
        return max(accumulators, default=0.0)

    def extract_output(self, accumulator: float) -> dict[metric_types.MetricKey, float]:
        return {self._key: accumulator}
