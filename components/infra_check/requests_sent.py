"""The requests, in all forms that a client may choose, and the comparison of the answers."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from models.engines import OPENVINO_BF16, OPENVINO_INT8
from models.openvino_runtime import gains_by_bf16
from models.table_values import read_columns
from schema import contract, inputs
from schema.inputs import Input
from serving.process import Server, ServerFailedError, running_server
from serving.protocol.tensors import strings
from serving.servables.careful_engine import ALLOWED
from serving.servables.tensorflow_servable import TensorFlowServable

# How far a probability may be from the SavedModel's own, and from what Trainer noted.
OWN_TOLERANCE: Final = ALLOWED
NOTED_TOLERANCE: Final = 0.05
_F32: Final = "f32"
_BF16: Final = "bf16"
_NAME: Final = "candidate"
_TIMEOUT_S: Final = 120
_SAID_CHARACTERS: Final = 500
# Name in the signatures -> value.
Given = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """An image, and what is known of it.

    Attributes:
        sha256: hex digest of the file.
        given: value of each input, by its name in the signatures.
        noted: Trainer's probabilities, float [n]; None on the test split.
    """

    sha256: str
    given: Given
    noted: np.ndarray | None = None


class Answer(NamedTuple):
    """The answer to one image.

    Attributes:
        predicted: class.
        probabilities: float [n].
        in_domain: the input gate's; None where the model has none.
        reason: likewise.
    """

    predicted: str
    probabilities: np.ndarray
    in_domain: bool | None = None
    reason: str | None = None


@dataclass
class Findings:
    """The findings of a check.

    Attributes:
        requests: that were answered.
        engine: that the server ran the model on; empty where it never did.
        precision: that the server must be told; empty where its own choice is right.
        own_difference: the largest to the SavedModel's own probabilities.
        noted_difference: the largest to what Trainer noted.
        gated: answers whose verdict of the input gate was compared; 0 where the model has no gate.
        failures: what is wrong, a sentence each.
    """

    requests: int = 0
    engine: str = ""
    precision: str = ""
    own_difference: float = 0.0
    noted_difference: float = 0.0
    gated: int = 0
    failures: list[str] = field(default_factory=list)


def check_served_well(version: Path, samples: Sequence[Sample]) -> Findings:
    """Serve a SavedModel for a moment, and compare its answers.

    What the server takes for good enough on its own probes may be too far off on these
    images. Where that is int8's doing, bf16 is asked for; where it is bf16's, f32.

    Args:
        version: its folder.
        samples: of the test split without, of the validation split with `noted`.
    """
    found = check_served(version, samples)
    for precision in _next_best(found.engine) if found.failures else ():
        again = check_served(version, samples, precision)
        if not again.failures:
            return again
    return found


def _next_best(engine: str) -> tuple[str, ...]:
    """List the precisions to try behind an engine whose answers are off."""
    if engine == OPENVINO_INT8:
        return (_BF16, _F32) if gains_by_bf16() else (_F32,)
    return (_F32,) if engine == OPENVINO_BF16 else ()


def check_served(version: Path, samples: Sequence[Sample], precision: str = "") -> Findings:
    """Check as `check_served_well` does, in one precision.

    Args:
        version: its folder.
        samples: as there.
        precision: that the server is told; its own choice where empty.
    """
    findings = Findings(precision=precision)
    try:
        servable = TensorFlowServable(version)
        asked = _asked_in(servable, inputs.of_columns(read_columns(version)))
        with _served(version, precision) as server:
            findings.engine = server.engine_of(_NAME)
            for signature, taken, forms in asked:
                own = _own_answers(servable, signature, taken, samples)
                # What Trainer noted is of all that the model takes.
                full = signature == asked[0].signature
                known = samples if full else [replace(each, noted=None) for each in samples]
                for name, ask in forms.items():
                    request = partial(ask, server, taken)
                    _compare(name, request, known, own, findings)
    except ServerFailedError as error:
        findings.failures.append(f"the server couldn't serve it: {_shortened(error)}")
    # Whatever a damaged SavedModel raises: the verdict is no, and the run goes on.
    except Exception as error:
        findings.failures.append(f"{type(error).__name__}: {_shortened(error)}")
    return findings


class _Asked(NamedTuple):
    """A signature that is asked: by its inputs, in these forms."""

    signature: str
    taken: Sequence[Input]
    forms: Mapping[str, Form]


def _asked_in(servable: TensorFlowServable, columns: Sequence[Input]) -> list[_Asked]:
    """List the signatures to ask, the one with all inputs first.

    Args:
        servable: the model.
        columns: of the table, that it takes.
    """
    every = (*inputs.INPUTS, *columns)

    def taken(signature: str) -> list[Input]:
        return [each for each in every if each.served in servable.input_specs(signature)]

    default = contract.SIGNATURE_DEFAULT
    if contract.SIGNATURE_TABLE not in servable.signatures:
        return [_Asked(default, taken(default), _FORMS)]
    table = contract.SIGNATURE_TABLE
    alone = {f"{name}, by {default}": ask for name, ask in _FORMS_BY_NAME.items()}
    by_name = {name: partial(ask, signature=table) for name, ask in _FORMS_BY_NAME.items()}
    return [
        _Asked(table, taken(table), {**by_name, **_FORMS_BY_EXAMPLE}),
        _Asked(default, taken(default), alone),
    ]


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[-_SAID_CHARACTERS:]


def _own_answers(
    servable: TensorFlowServable,
    signature: str,
    taken: Sequence[Input],
    samples: Sequence[Sample],
) -> list[Answer]:
    given = {
        each.served: _column([sample.given[each.served] for sample in samples]) for each in taken
    }
    outputs = servable.run(signature, given)
    return [
        _answer({name: value[row] for name, value in outputs.items()})
        for row in range(len(samples))
    ]


def _answer(row: Mapping[str, Any]) -> Answer:
    """Read an image's outputs, whatever carried them.

    Raises:
        KeyError: class or probabilities aren't there.
    """
    in_domain = row.get(contract.OUTPUT_IN_DOMAIN)
    reason = row.get(contract.OUTPUT_DOMAIN_REASON)
    return Answer(
        _text(row[contract.OUTPUT_PREDICTED]),
        np.array(row[contract.OUTPUT_PROBABILITIES]),
        None if in_domain is None else bool(in_domain),
        None if reason is None else _text(reason),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _column(values: Sequence[Any]) -> np.ndarray:
    return strings(values) if isinstance(values[0], bytes) else np.array(values, np.float32)


def _served(version: Path, precision: str) -> Any:
    """Start a server of this version alone, which needs a folder of its own name and number."""
    text = (
        f'model_config_list {{ config {{ name: "{_NAME}" base_path: "{version.parent}" '
        f'model_platform: "tensorflow" }} }}'
    )
    config = version.parent.parent / "models.config"
    config.write_text(text, encoding="utf-8")
    told = ("--precision", precision) if precision else ()
    return running_server("--model-config-file", str(config), *told)


def _compare(
    form: str,
    ask: Callable[[Given], Answer],
    samples: Sequence[Sample],
    own: Sequence[Answer],
    findings: Findings,
) -> None:
    for sample, wanted in zip(samples, own, strict=True):
        expected = wanted.probabilities
        try:
            answer = ask(sample.given)
        except (requests.RequestException, grpc.RpcError, KeyError, ValueError) as error:
            findings.failures.append(f"{form}, {sample.sha256[:12]}: {_shortened(error)}")
            continue
        findings.requests += 1
        predicted, probabilities = answer.predicted, answer.probabilities
        if wanted.reason is not None:
            findings.gated += 1
            if (answer.in_domain, answer.reason) != (wanted.in_domain, wanted.reason):
                findings.failures.append(
                    f"{form}, {sample.sha256[:12]}: the input gate says {answer.reason}, and the "
                    f"SavedModel's own {wanted.reason}"
                )
            if wanted.in_domain != (wanted.reason == contract.DOMAIN_OK):
                findings.failures.append(
                    f"{form}, {sample.sha256[:12]}: in_domain is {wanted.in_domain}, and the "
                    f"reason {wanted.reason}"
                )
        difference = float(np.abs(probabilities - expected).max())
        findings.own_difference = max(findings.own_difference, difference)
        if difference > OWN_TOLERANCE:
            findings.failures.append(
                f"{form}, {sample.sha256[:12]}: a probability is {difference:.3f} off the "
                f"SavedModel's own (allowed {OWN_TOLERANCE})"
            )
        if sample.noted is not None:
            noted = float(np.abs(probabilities - sample.noted).max())
            findings.noted_difference = max(findings.noted_difference, noted)
            if noted > NOTED_TOLERANCE:
                findings.failures.append(
                    f"{form}, {sample.sha256[:12]}: a probability is {noted:.3f} off what was "
                    f"noted in training (allowed {NOTED_TOLERANCE})"
                )
        first, second = np.sort(expected)[::-1][:2]
        if probabilities.argmax() != expected.argmax() and first - second > 2 * OWN_TOLERANCE:
            findings.failures.append(f"{form}, {sample.sha256[:12]}: another class, {predicted}")


def _rest(server: Server, body: dict[str, Any]) -> Answer:
    # Not as `json`: requests refuses NaN, which is a number for these servers.
    response = requests.post(
        f"{server.url}/v1/models/{_NAME}:predict", data=json.dumps(body), timeout=_TIMEOUT_S
    )
    if response.status_code != requests.codes.ok:
        raise ValueError(f"{response.status_code} {response.text}")
    (row,) = response.json()["predictions"]
    return _answer(row)


def _as_base64(
    server: Server,
    taken: Sequence[Input],
    given: Given,
    signature: str = contract.SIGNATURE_DEFAULT,
) -> Answer:
    # All of them, with what stands for a missing one: TensorFlow Serving's REST API wants each.
    named = {each.served: _in_json(given[each.served]) for each in taken}
    # A signature's only input needs no name.
    instance = named if len(named) > 1 else next(iter(named.values()))
    return _rest(server, {"signature_name": signature, "instances": [instance]})


def _as_example(server: Server, taken: Sequence[Input], given: Given) -> Answer:
    features = {each.raw.name: _feature(given[each.served]) for each in _there(taken, given)}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    instance = _in_json(example.SerializeToString())
    return _rest(server, {"signature_name": contract.SIGNATURE_EXAMPLES, "instances": [instance]})


def _in_json(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def _there(taken: Sequence[Input], given: Given) -> list[Input]:
    """List the inputs but for columns that are missing."""

    def is_missing(value: Any) -> bool:
        return value == b"" or (isinstance(value, float) and math.isnan(value))

    return [each for each in taken if not (each.column and is_missing(given[each.served]))]


def _as_bytes(
    server: Server,
    taken: Sequence[Input],
    given: Given,
    signature: str = contract.SIGNATURE_DEFAULT,
) -> Answer:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = _NAME
    request.model_spec.signature_name = signature
    for each in _there(taken, given):
        tensor = tf.make_tensor_proto([given[each.served]], each.raw.dtype)
        request.inputs[each.served].CopyFrom(tensor)
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=_TIMEOUT_S).outputs
    return _answer({name: tf.make_ndarray(value)[0] for name, value in outputs.items()})


# (server, inputs of a signature, their values) -> answer.
Form = Callable[[Server, Sequence[Input], Given], Answer]
_FORMS_BY_NAME: Final = {"base64 over REST": _as_base64, "bytes over gRPC": _as_bytes}
_FORMS_BY_EXAMPLE: Final = {"tf.Example over REST": _as_example}
_FORMS: Final[dict[str, Form]] = {
    "base64 over REST": _as_base64,
    "tf.Example over REST": _as_example,
    "bytes over gRPC": _as_bytes,
}
