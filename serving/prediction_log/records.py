"""A request and its answer as one PredictionLog, which is what TensorFlow Serving would log."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from schema import contract
from serving.core.observing import Asked
from serving.core.service import classes_of, regressions_of
from serving.prediction_log.image_facts import ImageFacts, Measure, is_image
from serving.prediction_log.redaction import (
    MOST_VALUES,
    facts_arrays,
    kept_array,
    kept_example,
)
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.protocol.tensors import Tensors, strings
from serving.servables.servable import CLASSIFY, PREDICT

_SERVE_TAG: Final = "serve"


def record(
    asked: Asked,
    outputs: Tensors,
    target: LogTarget,
    settings: LogSettings,
    measure: Measure,
    seconds: float,
) -> prediction_log_pb2.PredictionLog:
    """Put a record together.

    Args:
        asked: the request.
        outputs: the answer.
        target: where it is logged, with the rate of the draw.
        settings: of the log.
        measure: for images.
        seconds: since the epoch, when the answer was there.

    Returns:
        A PredictLog, ClassifyLog or RegressLog with its metadata. Request and answer are as the
        client saw them, but for what `redaction` takes out, and for outputs as large as an
        image. An image's facts are in its tf.Example where it came in one, else among the
        answer's outputs, all under the names that training has for them (`schema.contract`).
    """
    log = prediction_log_pb2.PredictionLog()
    metadata = log.log_metadata
    _fill_spec(metadata.model_spec, asked)
    metadata.sampling_config.sampling_rate = target.rate
    metadata.saved_model_tags.append(_SERVE_TAG)
    metadata.timestamp_secs = int(seconds)
    if asked.method == PREDICT:
        _predict(log.predict_log, asked, outputs, settings, measure)
    elif asked.method == CLASSIFY:
        _classify(log.classify_log, asked, outputs, settings, measure)
    else:
        _regress(log.regress_log, asked, outputs, settings, measure)
    return log


def _fill_spec(spec: Any, asked: Asked) -> None:
    spec.name = asked.lent.name
    spec.version.value = asked.lent.version
    spec.signature_name = asked.signature.name


def _predict(
    log: Any, asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure
) -> None:
    _fill_spec(log.request.model_spec, asked)
    log.request.output_filter.extend(asked.outputs)
    _fill_spec(log.response.model_spec, asked)
    for name, sent in asked.inputs.items():
        ready = asked.ready[name]
        facts: list[ImageFacts] = []
        if name == contract.INPUT_EXAMPLES and sent.dtype == np.object_:
            examples = [
                kept_example(one, settings, measure, any_number=False) for one in ready.ravel()
            ]
            kept = strings([one.SerializeToString() for one in examples]).reshape(sent.shape)
        else:
            if sent.dtype == np.object_ and sent.ndim == 1 and all(map(is_image, sent)):
                facts = [measure.facts(*pair) for pair in zip(sent, ready, strict=True)]
            kept = kept_array(name, sent, ready, settings, facts)
        _put(log.request.inputs[name], kept)
        if facts:
            for fact, values in facts_arrays(facts).items():
                _put(log.response.outputs[fact], values)
    for name, value in outputs.items():
        rows = len(value) if value.ndim else 1
        if value.size <= MOST_VALUES * rows:
            _put(log.response.outputs[name], value)


def _put(proto: Any, value: np.ndarray) -> None:
    if value.dtype == np.object_:
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(value.ravel())
    else:
        proto.dtype = tf.as_dtype(value.dtype).as_datatype_enum
        proto.tensor_content = np.ascontiguousarray(value).tobytes()
    proto.tensor_shape.SetInParent()
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)


def _examples(request: Any, asked: Asked, settings: LogSettings, measure: Measure) -> int:
    """Fill a classification's or regression's request; return the number of examples."""
    _fill_spec(request.model_spec, asked)
    (ready,) = asked.ready.values()
    examples = request.input.example_list.examples
    for one in ready:
        examples.append(kept_example(one, settings, measure, any_number=True))
    return len(ready)


def _classify(
    log: Any, asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure
) -> None:
    count = _examples(log.request, asked, settings, measure)
    _fill_spec(log.response.model_spec, asked)
    for row in classes_of(outputs, count).rows():
        classes = log.response.result.classifications.add().classes
        for label, score in row:
            classes.add(label=label, score=float(score))


def _regress(
    log: Any, asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure
) -> None:
    count = _examples(log.request, asked, settings, measure)
    _fill_spec(log.response.model_spec, asked)
    for value in regressions_of(outputs, count):
        log.response.result.regressions.add(value=float(value))
