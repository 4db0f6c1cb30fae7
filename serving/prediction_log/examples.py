"""A log's records as tf.Examples, a row each, for whatever reads those: TFDV, TFMA, Transform."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import prediction_log_pb2

from schema import contract
from serving.protocol.tensors import Tensors

# Beside `contract.ANSWER`, the probabilities.
ANSWER_CLASS: Final = "answer/class"  # bytes
ANSWER_CLASSES: Final = "answer/classes"  # bytes [n], in the order of the probabilities
ANSWER_ABSTAIN: Final = "answer/abstain"  # int64, 0 or 1
ANSWER_IN_DOMAIN: Final = "answer/in_domain"  # int64, 0 or 1
ANSWER_DOMAIN_REASON: Final = "answer/domain_reason"  # bytes, of `contract.DOMAIN_REASONS`
MODEL: Final = "log/model"  # bytes
VERSION: Final = "log/version"  # int64
SIGNATURE: Final = "log/signature"  # bytes
SECONDS: Final = "log/seconds"  # int64, since the epoch
SAMPLING_RATE: Final = "log/sampling_rate"  # float
_ANSWERS: Final = {
    contract.OUTPUT_PROBABILITIES: contract.ANSWER,
    contract.OUTPUT_CLASSES: ANSWER_CLASSES,
    contract.OUTPUT_PREDICTED: ANSWER_CLASS,
    contract.OUTPUT_ABSTAIN: ANSWER_ABSTAIN,
    contract.OUTPUT_IN_DOMAIN: ANSWER_IN_DOMAIN,
    contract.OUTPUT_DOMAIN_REASON: ANSWER_DOMAIN_REASON,
}
_OF_IMAGE: Final = frozenset(
    {
        *(contract.SHA256, contract.BYTES, contract.WIDTH, contract.HEIGHT),
        *(contract.MEAN, contract.STD, contract.ENTROPY),
    }
)


def examples_of(log: prediction_log_pb2.PredictionLog) -> list[example_pb2.Example]:
    """Turn a record into a tf.Example a row.

    Args:
        log: a record of this project's server, or of another one that logs as TensorFlow Serving
            would.

    Returns:
        Each with what the request held, under its own names, an image's facts and the answer, and
        `log/…`: by which model and when. What isn't known, such as an image's width, isn't
        there. An image of the request, where pixels were kept, is `contract.IMAGE`.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        rows = _of_predict(log.predict_log)
    elif kind in ("classify_log", "regress_log"):
        rows = _of_examples(getattr(log, kind))
    else:
        rows = []
    spec = log.log_metadata.model_spec
    for row in rows:
        put(row, MODEL, [spec.name.encode()])
        put(row, VERSION, [spec.version.value])
        put(row, SIGNATURE, [spec.signature_name.encode()])
        put(row, SECONDS, [log.log_metadata.timestamp_secs])
        put(row, SAMPLING_RATE, [float(log.log_metadata.sampling_config.sampling_rate)])
    return rows


def put(example: example_pb2.Example, name: str, values: list[Any]) -> None:
    """Write a feature: bytes, int64 or float by the values' type; nothing where there are none."""
    if not values:
        return
    feature = example.features.feature[name]
    first = values[0]
    if isinstance(first, bytes):
        feature.bytes_list.value[:] = values
    elif isinstance(first, bool | int):
        feature.int64_list.value[:] = [int(value) for value in values]
    else:
        feature.float_list.value[:] = values


def _of_predict(log: Any) -> list[example_pb2.Example]:
    inputs, outputs = _arrays(log.request.inputs), _arrays(log.response.outputs)
    sizes = {len(value) for value in inputs.values() if value.ndim}
    if len(sizes) != 1:
        return []  # rows that aren't independent of each other
    (count,) = sizes
    encoded = inputs.pop(contract.INPUT_EXAMPLES, None)
    rows = [
        example_pb2.Example() if encoded is None else example_pb2.Example.FromString(encoded[row])
        for row in range(count)
    ]
    named = [(_input_name(name, log), value) for name, value in inputs.items()]
    named += [
        (_ANSWERS.get(name, name if name in _OF_IMAGE else f"answer/{name}"), value)
        for name, value in outputs.items()
    ]
    for name, value in named:
        if value.ndim and len(value) == count:
            for row, cell in zip(rows, value, strict=True):
                put(row, name, _known(name, np.asarray(cell).ravel().tolist()))
    return rows


def _input_name(name: str, log: Any) -> str:
    if name != contract.INPUT_IMAGES:
        return name
    # Digests stand in the images' place, unless pixels were kept.
    first = log.request.inputs[name].string_val[:1]
    return contract.SHA256 if first and len(first[0]) == 64 else contract.IMAGE


def _known(name: str, values: list[Any]) -> list[Any]:
    if name in (contract.WIDTH, contract.HEIGHT) and values == [0]:
        return []
    return [v for v in values if v != b"" and not (isinstance(v, float) and math.isnan(v))]


def _arrays(protos: Any) -> Tensors:
    return {name: np.asarray(tf.make_ndarray(proto)) for name, proto in protos.items()}


def _of_examples(log: Any) -> list[example_pb2.Example]:
    rows = []
    result = log.response.result
    for index, asked in enumerate(log.request.input.example_list.examples):
        row = example_pb2.Example()
        row.CopyFrom(asked)
        if result.DESCRIPTOR.name == "ClassificationResult":
            classes = result.classifications[index].classes
            put(row, ANSWER_CLASSES, [one.label.encode() for one in classes])
            put(row, contract.ANSWER, [float(one.score) for one in classes])
        else:
            put(row, "answer/value", [float(result.regressions[index].value)])
        rows.append(row)
    return rows
