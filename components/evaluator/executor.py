"""Leaves an empty baseline out, and has TFMA work without detours."""

from __future__ import annotations

import os
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import executor
from tfx.types import artifact_utils, standard_component_specs

from common.in_process_beam import in_process
from components.evaluator.reading import read_once
from components.evaluator.thresholds import quick_thresholds
from components.saved_models import given_model
from schema import contract


class Executor(executor.Executor):
    """TFX's, on the inputs that have something in them."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate, against the baseline where there is one."""
        key = standard_component_specs.BASELINE_MODEL_KEY
        inputs = dict(input_dict)
        if inputs.get(key) and not given_model(inputs[key]):
            logging.info("There is no baseline to compare with.")
            del inputs[key]
        # TFMA's metrics are computed eagerly. AutoGraph would rewrite their Python all the same,
        # seconds of it in each process, to come to the same values.
        evaluate = tf.autograph.experimental.do_not_convert(super().Do)
        with quick_thresholds(), read_once():
            evaluate(inputs, output_dict, exec_properties)
        _hand_on_figures(
            artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY]),
            artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY]),
        )

    def _make_beam_pipeline(self) -> beam.Pipeline:
        return in_process(super()._make_beam_pipeline())


def _hand_on_figures(answers: str, evaluation: str) -> None:
    """Copy what Inferrer found of the input gate and of the parts, for who reads the evaluation."""
    for name in (contract.INPUT_GATE_FILE, contract.PARTS_FILE):
        source = os.path.join(answers, name)
        if tf.io.gfile.exists(source):
            tf.io.gfile.copy(source, os.path.join(evaluation, name), overwrite=True)
