"""Evaluator: the stock one, but for its executor and the length of its configuration."""

from __future__ import annotations

import json
from typing import Any

from tfx.components import Evaluator as StockEvaluator
from tfx.dsl.components.base import executor_spec
from tfx.types import standard_component_specs

from components.evaluator.executor import Executor


class Evaluator(StockEvaluator):
    """Like TFX's, whose `baseline_model` may be an artifact without a model in it.

    A resolver that finds no baseline hands on nothing, and TFX's Evaluator knows what that
    means. Baseline is a node with an executor, and has to hand on an artifact, whatever it finds.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, **arguments: Any) -> None:
        """Constructs the node.

        Args:
            arguments: TFX's. The configuration becomes JSON without the spaces and line breaks
                that TFX puts into it: nearly half of it, in each model's Evaluator, and
                Kubeflow hands a whole DAG over as one argument of bounded length.
        """
        super().__init__(**arguments)
        key = standard_component_specs.EVAL_CONFIG_KEY
        config = json.loads(self.exec_properties[key])
        self.exec_properties[key] = json.dumps(config, separators=(",", ":"), sort_keys=True)
