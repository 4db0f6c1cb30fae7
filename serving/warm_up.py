"""Warm-up requests beside a SavedModel: written at the push, answered before a version is served.

The file is TensorFlow Serving's (`saved_model_warmup_util.cc`): a TFRecord of PredictionLogs. So
that server answers what is pushed here, and this one what was written for it, with its errors. The
first request is slow whatever runs the network: memory isn't there yet, and code is compiled late.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from grpc import StatusCode
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from models.table_values import missing_value
from schema import contract
from schema.table import NUMERIC, TableColumn, from_json
from serving.core.service import classes_of, examples_signature, regressions_of
from serving.networks.probes import probe_pixels
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import strings
from serving.servables.careful_engine import fast_alone
from serving.servables.servable import CLASSIFY, REGRESS, Servable
from serving.server import messages

# As in TensorFlow Serving.
MOST_RECORDS: Final = 1000
_SHOWN_BYTES: Final = 200
_SERVE_TAG: Final = "serve"
_PNG: Final = "PNG"
# The signatures that get a request; heat maps are dear.
_WARMED: Final = (
    contract.SIGNATURE_DEFAULT,
    contract.SIGNATURE_EXAMPLES,
    contract.SIGNATURE_TABLE,
)


def warm_up(servable: Servable, directory: Path, rounds: int = 1) -> int:
    """Answer the requests beside a version, one after the other.

    Args:
        servable: the loaded version.
        directory: its folder.
        rounds: how often each request is answered.

    Returns:
        How many requests there are; 0 where there is no file.

    Raises:
        ServingError: they can't be read or answered, or are too many. As in TensorFlow Serving, the
            version is not to be served then.
    """
    file = directory / contract.WARM_UP_FILE
    if not file.exists():
        return 0
    began = time.monotonic()
    count = 0
    for record in _records(file):
        log = _parsed(record, file)
        with fast_alone():
            for _ in range(rounds):
                _answer(servable, log)
        count += 1
        if count > MOST_RECORDS:
            raise invalid(
                f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {file}"
            )
    seconds = time.monotonic() - began
    logging.info("%s: %d warm-up requests answered (%.1f s)", file, count, seconds)
    return count


def _records(file: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise ServingError(
            StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    except tf.errors.OpError as error:
        raise ServingError(StatusCode.UNKNOWN, f"{file}: {error.message}") from error


def _parsed(record: bytes, file: Path) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        shown = record[:_SHOWN_BYTES].decode("utf-8", errors="backslashreplace")
        raise invalid(f"Failed to parse warmup record: {shown} from {file}") from error


def _answer(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = messages.to_tensors(dict(request.inputs))
        servable.run(request.model_spec.signature_name, inputs, request.output_filter)
    elif kind in _ON_EXAMPLES:
        request = getattr(log, kind).request
        _on_examples(servable, _ON_EXAMPLES[kind], request.model_spec, request.input)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            _on_examples(servable, task.method_name, task.model_spec, request.input)
    elif kind is not None:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(
            StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number} ({kind})"
        )


_ON_EXAMPLES: Final = {"classify_log": CLASSIFY, "regress_log": REGRESS}


def _on_examples(servable: Servable, method: str, spec: Any, source: Any) -> None:
    checks: dict[str, Callable[..., Any]] = {CLASSIFY: classes_of, REGRESS: regressions_of}
    if method not in checks:
        raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
    signature = examples_signature(servable, spec.signature_name, method)
    examples = messages.serialized_examples(source)
    (name,) = signature.inputs
    checks[method](servable.run(signature.name, {name: strings(examples)}), len(examples))


def write_warm_up(directory: str) -> int:
    """Write requests beside a SavedModel: one to each signature but the dear one.

    It takes images, or columns of a table (`contract.TABLE_FILE`), or both. A request to
    `contract.SIGNATURE_TABLE` has all columns, and no value in any: whatever their ranges are.

    Args:
        directory: with saved_model.pb, local or remote; not that of an artifact that another node
            wrote.

    Returns:
        How many were written; 0 where the model takes something else, too, that isn't known here,
        and where there are requests already, such as InfraValidator's.
    """
    file = f"{directory.rstrip('/')}/{contract.WARM_UP_FILE}"
    if tf.io.gfile.exists(file):
        return 0
    signatures = _signatures_in(directory)
    image = _image()
    values = {
        contract.INPUT_IMAGES: _strings(image),
        contract.INPUT_EXAMPLES: _strings(_example(image)),
        **{column.name: _missing(column) for column in _columns_of(directory)},
    }
    own = signatures.get(contract.SIGNATURE_DEFAULT, set())
    # Of a model whose own inputs aren't known, nothing is known of its other signatures.
    known = bool(own) and own <= values.keys() - {contract.INPUT_EXAMPLES}
    logs = [
        _predict_log(name, {key: values[key] for key in sorted(signatures[name])})
        for name in _WARMED
        if known and name in signatures and signatures[name] <= values.keys()
    ]
    if logs:
        tf.io.gfile.makedirs(file.rpartition("/")[0])
        with tf.io.TFRecordWriter(file) as writer:
            for log in logs:
                writer.write(log.SerializeToString(deterministic=True))
    return len(logs)


def _columns_of(directory: str) -> tuple[TableColumn, ...]:
    file = f"{directory.rstrip('/')}/{contract.TABLE_FILE}"
    if not tf.io.gfile.exists(file):
        return ()
    with tf.io.gfile.GFile(file) as text:
        return from_json(text.read())


def _signatures_in(directory: str) -> dict[str, set[str]]:
    """Read each signature's inputs; none where it is no SavedModel to be served."""
    model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(f"{directory.rstrip('/')}/{contract.SAVED_MODEL_FILE}", "rb") as file:
        try:
            model.ParseFromString(file.read())
        except DecodeError:
            logging.warning("%s is no SavedModel: no warm-up requests for it", directory)
    return {
        name: set(definition.inputs)
        for graph in model.meta_graphs
        if _SERVE_TAG in graph.meta_info_def.tags
        for name, definition in graph.signature_def.items()
    }


def _image() -> bytes:
    """Draw what is no radiograph, and always the same."""
    png = io.BytesIO()
    Image.fromarray(probe_pixels()[0, :, :, 0]).save(png, _PNG)
    return png.getvalue()


def _example(image: bytes) -> bytes:
    example = tf.train.Example()
    example.features.feature[contract.IMAGE].bytes_list.value.append(image)
    return bytes(example.SerializeToString(deterministic=True))


def _strings(value: bytes) -> Any:
    return tf.make_tensor_proto([value], tf.string, [1])


def _missing(column: TableColumn) -> Any:
    dtype = tf.float32 if column.kind == NUMERIC else tf.string
    return tf.make_tensor_proto([missing_value(column)], dtype, [1])


def _predict_log(signature: str, inputs: Mapping[str, Any]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    return log
