"""Evaluator's result on made answers, without Beam: its files, in this process, in no time.

Metrics, verdict and files are computed by TFMA's own functions, one after another instead of as
stages of a job. Two tests hold the outcome against real jobs: one with a baseline, in
components/evaluator/test_metrics.py, and one without, of the golden run, in
test_made_evaluation.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from pathlib import Path
from typing import Any, Final

import numpy as np

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
import tensorflow_model_analysis as tfma  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tensorflow_model_analysis.evaluators import metrics_validator  # noqa: E402
from tensorflow_model_analysis.metrics import metric_specs, metric_types  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tensorflow_model_analysis.slicer import slicer_lib  # noqa: E402
from tensorflow_model_analysis.utils import model_util  # noqa: E402
from tensorflow_model_analysis.writers import (  # noqa: E402
    metrics_plots_and_validations_writer as files,
)

from schema import contract  # noqa: E402

CANDIDATE, BASELINE = tfma.CANDIDATE_KEY, tfma.BASELINE_KEY
_LOSS: Final = "SparseCategoricalCrossentropy"
_DERIVED: Final = metric_types.DerivedMetricComputation
_STANDARD: Final = metric_types.StandardMetricInputsPreprocessor

Metrics = dict[metric_types.MetricKey, Any]


@dataclass(frozen=True)
class Answered:
    """An image of the test split, and what the models say of it.

    Attributes:
        label: index of its class.
        candidate: the new model's probabilities.
        baseline: those of the model that it is compared with; not read where there is none.
        features: by name; the digest, and what is sliced by.
        served: what the SavedModel says, where it was asked.
    """

    label: int
    candidate: Sequence[float]
    baseline: Sequence[float] = ()
    features: Mapping[str, str] = field(default_factory=dict)
    served: Sequence[float] = ()


def evaluated(
    folder: Path,
    config: config_pb2.EvalConfig,
    test_split: Sequence[Answered],
    *,
    has_baseline: bool,
) -> str:
    """Write what Evaluator would, but for what `completed` leaves out.

    Args:
        folder: to write into; is made.
        config: of components/evaluator/eval_config.py.
        test_split: at least one image.
        has_baseline: whether there is an earlier model.

    Returns:
        The evaluation's URI.
    """
    config = completed(config, has_baseline=has_baseline)
    computations = metric_specs.to_computations(config.metrics_specs, eval_config=config)
    combined = list(dict.fromkeys(c for c in computations if not isinstance(c, _DERIVED)))
    derived = list(dict.fromkeys(c for c in computations if isinstance(c, _DERIVED)))
    for computation in combined:
        assert isinstance(computation, metric_types.MetricComputation), computation
        computation.combiner.setup()
    slices: dict[Any, list[list[Any]]] = {}
    by_slice = [slicer_lib.SingleSliceSpec(spec=spec) for spec in config.slicing_specs]
    for image in test_split:
        extracts = _extracts(image, [spec.name for spec in config.model_specs])
        inputs = [_inputs(computation, extracts) for computation in combined]
        features = extracts[tfma.FEATURES_KEY]
        for key in slicer_lib.get_slices_for_features_dicts([features], {}, by_slice):
            slices.setdefault(key, []).append(inputs)
    sliced = {
        key: _with_differences(_combine(combined, derived, rows), config)
        for key, rows in slices.items()
    }
    _write(folder, config, sliced)
    return str(folder)


def completed(config: config_pb2.EvalConfig, *, has_baseline: bool) -> config_pb2.EvalConfig:
    """The configuration as Evaluator completes it, without what nobody reads.

    The metrics of one class against the rest, and the loss: they take most of the time.
    """
    whole = tfma.utils.update_eval_config_with_defaults(
        config, has_baseline=has_baseline, rubber_stamp=True
    )
    kept = copy.deepcopy(whole)
    del kept.metrics_specs[:]
    for spec in whole.metrics_specs:
        if not spec.HasField("binarize"):
            copied = kept.metrics_specs.add()
            copied.CopyFrom(spec)
            del copied.metrics[:]
            copied.metrics.extend(m for m in spec.metrics if m.class_name != _LOSS)
    return kept


def _extracts(image: Answered, models: Sequence[str]) -> dict[str, Any]:
    """An image as TFMA's extractors leave it."""
    answers = {name: np.array(getattr(image, name or CANDIDATE), np.float32) for name in models}
    served = np.array(image.served, np.float32)
    return {
        tfma.LABELS_KEY: np.array([image.label]),
        tfma.PREDICTIONS_KEY: answers if len(answers) > 1 else next(iter(answers.values())),
        tfma.FEATURES_KEY: {
            name: np.array([value.encode()], object) for name, value in image.features.items()
        }
        | ({contract.SERVED_ANSWER: served} if served.size else {}),
    }


def _inputs(computation: metric_types.MetricComputation, extracts: dict[str, Any]) -> list[Any]:
    """What the computation's combiner is given of one image."""
    found = [copy.copy(extracts)]
    for preprocessor in computation.preprocessors or [_STANDARD()]:
        found = [one for before in found for one in preprocessor.process(before)]
    return [metric_types.StandardMetricInputs(one) for one in found]


def _combine(
    combined: Sequence[metric_types.MetricComputation],
    derived: Sequence[metric_types.DerivedMetricComputation],
    rows: Sequence[list[Any]],
) -> Metrics:
    metrics: Metrics = {}
    for index, computation in enumerate(combined):
        combiner = computation.combiner
        accumulator = combiner.create_accumulator()
        for row in rows:
            for element in row[index]:
                accumulator = combiner.add_input(accumulator, element)
        metrics |= combiner.extract_output(accumulator)
    for last in derived:
        metrics |= last.result(metrics)
    return metrics


def _with_differences(metrics: Metrics, config: config_pb2.EvalConfig) -> Metrics:
    """Without what is TFMA's own, and with how much candidate and baseline differ."""
    public = {key: value for key, value in metrics.items() if not key.name.startswith("_")}
    baseline = model_util.get_baseline_model_spec(config)
    if not baseline:
        return public
    differences = {
        key.make_diff_key(): value - public[key.make_baseline_key(baseline.name)]
        for key, value in public.items()
        if key.model_name != baseline.name
        and key.make_baseline_key(baseline.name) in public
        and _is_number(value)
    }
    return public | differences


def _is_number(value: Any) -> bool:
    array = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.number)
    return array or isinstance(value, Number)


def _write(folder: Path, config: config_pb2.EvalConfig, sliced: Mapping[Any, Metrics]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    verdict = files.CombineValidations(config)
    accumulator = verdict.create_accumulator()
    metrics, plots = [], []
    for key, values in sliced.items():
        numbers = {k: v for k, v in values.items() if not isinstance(k, metric_types.PlotKey)}
        figures = {k: v for k, v in values.items() if isinstance(k, metric_types.PlotKey)}
        accumulator = verdict.add_input(
            accumulator, metrics_validator.validate_metrics((key, numbers), config)
        )
        metrics.append(files.convert_slice_metrics_to_proto((key, numbers), []))
        plots.append(files.convert_slice_plots_to_proto((key, figures), []))
    _records(folder / f"{tfma.METRICS_KEY}-00000-of-00001.tfrecord", metrics)
    _records(folder / f"{tfma.PLOTS_KEY}-00000-of-00001.tfrecord", plots)
    _records(folder / f"{tfma.VALIDATIONS_KEY}.tfrecord", [verdict.extract_output(accumulator)])
    run = config_pb2.EvalRun(
        eval_config=config,
        version=tfma.version.VERSION,
        model_locations={spec.name: "made" for spec in config.model_specs},
    )
    (folder / "eval_config.json").write_text(json_format.MessageToJson(run))


def _records(file: Path, messages: Sequence[Any]) -> None:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())


def figures_of(evaluation: str) -> dict[tuple[Any, ...], Any]:
    """Every figure of an evaluation, as TFMA reads it.

    Args:
        evaluation: its URI.

    Returns:
        (slice, model, name) -> value, of metrics and plots of all classes.
    """
    models = [spec.name for spec in tfma.load_eval_result(evaluation).config.model_specs]
    results = [(model, tfma.load_eval_result(evaluation, model_name=model)) for model in models]
    return {
        (key, model, name): value
        for model, result in results
        for read in (result.slicing_metrics, result.plots)
        for key, by_output in read
        for name, value in by_output[""][""].items()
    }
