"""Evaluator: the stock one, but for its executor."""

from __future__ import annotations

from tfx.components import Evaluator as StockEvaluator
from tfx.dsl.components.base import executor_spec

from components.evaluator.executor import Executor


class Evaluator(StockEvaluator):
    """Like TFX's, whose `baseline_model` may be an artifact without a model in it.

    A resolver that finds no baseline hands on nothing, and TFX's Evaluator knows what that
    means. Baseline is a node with an executor, and has to hand on an artifact, whatever it finds.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
