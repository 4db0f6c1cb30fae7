"""The metrics of answers: what is counted, and that series are a closed set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from schema import contract
from serving.core.observing import Asked
from serving.protocol.tensors import Tensors, strings
from serving.server.answer_metrics import AnswerMetrics

DOMAIN = "cxr_serving_answers_domain_total"


def _asked(rows: int, *, shadow: bool = False) -> Asked:
    lent: Any = SimpleNamespace(name="lungs")
    inputs = {"images": strings([b"x"] * rows)}
    signature: Any = None
    return Asked(lent, signature, "predict", inputs, inputs, shadow=shadow)


def _answer(*reasons: bytes) -> Tensors:
    count = len(reasons)
    return {
        contract.OUTPUT_CLASSES: strings([b"Normal", b"COVID-19"] * count).reshape(count, 2),
        contract.OUTPUT_PREDICTED: strings([b"Normal"] * count),
        contract.OUTPUT_PROBABILITIES: np.tile(np.array([0.9, 0.1], np.float32), (count, 1)),
        contract.OUTPUT_ABSTAIN: np.zeros(count, np.bool_),
        contract.OUTPUT_DOMAIN_REASON: strings(reasons),
    }


def _counted(registry: CollectorRegistry, reason: str) -> float | None:
    return registry.get_sample_value(DOMAIN, {"model": "lungs", "reason": reason})


def test_each_reason_is_counted_and_any_other_is_one_series() -> None:
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry)
    reasons = [reason.encode() for reason in contract.DOMAIN_REASONS]
    metrics(_asked(len(reasons)), _answer(*reasons))
    metrics(_asked(3), _answer(b"turned", b"Mrs Miller", b"\xff"))
    assert _counted(registry, "turned") == 2
    for reason in set(contract.DOMAIN_REASONS) - {"turned"}:
        assert _counted(registry, reason) == 1
    assert _counted(registry, "") == 2
    series = [s for family in registry.collect() for s in family.samples if s.name == DOMAIN]
    assert len(series) == len(contract.DOMAIN_REASONS) + 1


def test_a_model_without_a_gate_has_no_series() -> None:
    registry = CollectorRegistry()
    answer = _answer(b"ok")
    del answer[contract.OUTPUT_DOMAIN_REASON]
    AnswerMetrics(registry)(_asked(1), answer)
    assert _counted(registry, "ok") is None


def test_what_no_client_got_is_not_counted() -> None:
    registry = CollectorRegistry()
    AnswerMetrics(registry)(_asked(1, shadow=True), _answer(b"ok"))
    assert [s for family in registry.collect() for s in family.samples] == []
