"""A request and its answer as one PredictionLog, which is what TensorFlow Serving would log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

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
from serving.protocol.tensor_bytes import delimited, map_bytes
from serving.protocol.tensors import Tensors, strings
from serving.servables.servable import CLASSIFY, PREDICT

_SERVE_TAG: Final = "serve"
_PREDICT_LOG: Final = prediction_log_pb2.PredictionLog.PREDICT_LOG_FIELD_NUMBER
_REQUEST: Final = prediction_log_pb2.PredictLog.REQUEST_FIELD_NUMBER
_INPUTS: Final = predict_pb2.PredictRequest.INPUTS_FIELD_NUMBER
_RESPONSE: Final = prediction_log_pb2.PredictLog.RESPONSE_FIELD_NUMBER
_OUTPUTS: Final = predict_pb2.PredictResponse.OUTPUTS_FIELD_NUMBER
# Of a model, those of a second differ in their signature and in the outputs that were asked for.
_HEADS: Final = 256


def record(
    asked: Asked,
    outputs: Tensors,
    target: LogTarget,
    settings: LogSettings,
    measure: Measure,
    seconds: float,
) -> bytes:
    """Put a record together.

    Args:
        asked: the request.
        outputs: the answer.
        target: where it is logged, with the rate of the draw.
        settings: of the log.
        measure: for images.
        seconds: since the epoch, when the answer was there.

    Returns:
        A serialised PredictionLog: a PredictLog, ClassifyLog or RegressLog with its metadata.
        Request and answer are as the client saw them, but for what `redaction` takes out, and for
        outputs as large as an image. An image's facts are in its tf.Example where it came in one,
        else among the answer's outputs, all under the names that training has for them
        (`schema.contract`).
    """
    lent, signature = asked.lent, asked.signature.name
    of_request = (lent.name, lent.version, signature, target.rate, int(seconds))
    if asked.method == PREDICT:
        # What stands twice in a serialised message is merged by who parses it.
        return _predict_head(*of_request, tuple(asked.outputs)) + _predict(
            asked, outputs, settings, measure
        )
    log = _with_metadata(*of_request)
    answered: Any = log.classify_log if asked.method == CLASSIFY else log.regress_log
    _put_specs(answered, log)
    if asked.method == CLASSIFY:
        _classify(answered, asked, outputs, settings, measure)
    else:
        _regress(answered, asked, outputs, settings, measure)
    return bytes(log.SerializeToString())


@lru_cache(_HEADS)
def _predict_head(
    model: str, version: int, signature: str, rate: float, seconds: int, outputs: Sequence[str]
) -> bytes:
    """Serialise what all records of a second have in common."""
    log = _with_metadata(model, version, signature, rate, seconds)
    _put_specs(log.predict_log, log)
    log.predict_log.request.output_filter.extend(outputs)
    return bytes(log.SerializeToString())


def _with_metadata(
    model: str, version: int, signature: str, rate: float, seconds: int
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    metadata = log.log_metadata
    metadata.model_spec.name = model
    metadata.model_spec.version.value = version
    metadata.model_spec.signature_name = signature
    metadata.sampling_config.sampling_rate = rate
    metadata.saved_model_tags.append(_SERVE_TAG)
    metadata.timestamp_secs = seconds
    return log


def _put_specs(answered: Any, log: prediction_log_pb2.PredictionLog) -> None:
    """Say in request and response whom they are of, as the metadata does."""
    for message in (answered.request, answered.response):
        message.model_spec.CopyFrom(log.log_metadata.model_spec)


def _predict(asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure) -> bytes:
    """Serialise the tensors of a request and its answer."""
    of_request: dict[str, np.ndarray] = {}
    of_response: dict[str, np.ndarray] = {}
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
        of_request[name] = kept
        if facts:
            of_response |= facts_arrays(facts)
    for name, value in outputs.items():
        rows = len(value) if value.ndim else 1
        if value.size <= MOST_VALUES * rows:
            of_response[name] = value
    log = delimited(_REQUEST, map_bytes(_INPUTS, of_request))
    log += delimited(_RESPONSE, map_bytes(_OUTPUTS, of_response))
    return delimited(_PREDICT_LOG, log)


def _examples(request: Any, asked: Asked, settings: LogSettings, measure: Measure) -> int:
    """Fill a classification's or regression's request; return the number of examples."""
    (ready,) = asked.ready.values()
    examples = request.input.example_list.examples
    for one in ready:
        examples.append(kept_example(one, settings, measure, any_number=True))
    return len(ready)


def _classify(
    log: Any, asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure
) -> None:
    count = _examples(log.request, asked, settings, measure)
    for row in classes_of(outputs, count).rows():
        classes = log.response.result.classifications.add().classes
        for label, score in row:
            classes.add(label=label, score=float(score))


def _regress(
    log: Any, asked: Asked, outputs: Tensors, settings: LogSettings, measure: Measure
) -> None:
    count = _examples(log.request, asked, settings, measure)
    for value in regressions_of(outputs, count):
        log.response.result.regressions.add(value=float(value))
