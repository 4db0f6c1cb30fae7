"""Metrics of what is answered: classes, confidence, abstained, in domain. An `Observer`."""

from __future__ import annotations

from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram

from schema import contract
from serving.core.observing import Asked
from serving.protocol.tensors import Tensors

# Of the highest probability; closest where most answers are.
_CONFIDENCE: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# A class that the model's own list doesn't have, or an answer that was asked for without it: time
# series are a closed set.
OTHER: Final = ""


class AnswerMetrics:
    """Counters of answers, by model.

    A model that answers otherwise than this project's is counted as `class=""`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._answers = Counter(
            "cxr_serving_answers",
            "Images, or other rows, answered, by predicted class.",
            ("model", "class"),
            registry=registry,
        )
        self._confidence = Histogram(
            "cxr_serving_answer_confidence",
            "Highest calibrated probability of an answer.",
            ("model",),
            buckets=_CONFIDENCE,
            registry=registry,
        )
        self._abstained = Counter(
            "cxr_serving_answers_abstained",
            "Answers that were too unsure, so that a person has to look.",
            ("model",),
            registry=registry,
        )

        self._domain = Counter(
            "cxr_serving_answers_domain",
            "Images that a model's input gate looked at, by what it says.",
            ("model", "reason"),
            registry=registry,
        )

    def __call__(self, asked: Asked, outputs: Tensors) -> None:
        """Count an answer's rows; what no client got is counted by `Shadows`."""
        if asked.shadow:
            return
        model = asked.lent.name
        known = outputs.get(contract.OUTPUT_CLASSES)
        classes = set() if known is None else set(known.ravel().tolist())
        predicted = outputs.get(contract.OUTPUT_PREDICTED)
        names = [] if predicted is None else predicted.ravel().tolist()
        for name in names:
            label = name.decode("utf-8", "replace") if name in classes else OTHER
            self._answers.labels(model, label).inc()
        if predicted is None:
            self._answers.labels(model, OTHER).inc(_rows(asked))
        probabilities = outputs.get(contract.OUTPUT_PROBABILITIES)
        if probabilities is not None and probabilities.ndim == 2 and probabilities.size:
            for confidence in probabilities.max(axis=1).tolist():
                self._confidence.labels(model).observe(confidence)
        abstained = outputs.get(contract.OUTPUT_ABSTAIN)
        if abstained is not None:
            self._abstained.labels(model).inc(int(np.count_nonzero(abstained)))
        reasons = outputs.get(contract.OUTPUT_DOMAIN_REASON)
        for reason in () if reasons is None else reasons.ravel().tolist():
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            label = text if text in contract.DOMAIN_REASONS else OTHER
            self._domain.labels(model, label).inc()


def _rows(asked: Asked) -> int:
    return max((len(value) if value.ndim else 1 for value in asked.inputs.values()), default=1)
