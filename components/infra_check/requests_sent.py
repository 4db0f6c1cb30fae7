"""The requests, in all forms that a client may choose, and the comparison of the answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from models.engines import OPENVINO_BF16
from schema import contract
from serving.process import Server, ServerFailedError, running_server
from serving.protocol.tensors import strings
from serving.servables.careful_engine import ALLOWED
from serving.servables.tensorflow_servable import TensorFlowServable

# How far a probability may be from the SavedModel's own, and from what Trainer noted.
OWN_TOLERANCE: Final = ALLOWED
NOTED_TOLERANCE: Final = 0.05
_F32: Final = "f32"
_NAME: Final = "candidate"
_TIMEOUT_S: Final = 120
_SAID_CHARACTERS: Final = 500


@dataclass(frozen=True)
class Sample:
    """An image, and what is known of it.

    Attributes:
        sha256: hex digest of the file.
        content: the file.
        noted: Trainer's probabilities, float [n]; None on the test split.
    """

    sha256: str
    content: bytes
    noted: np.ndarray | None = None


@dataclass
class Findings:
    """The findings of a check.

    Attributes:
        requests: that were answered.
        engine: that the server ran the model on; empty where it never did.
        precision: that the server must be told; empty where its own choice is right.
        own_difference: the largest to the SavedModel's own probabilities.
        noted_difference: the largest to what Trainer noted.
        failures: what is wrong, a sentence each.
    """

    requests: int = 0
    engine: str = ""
    precision: str = ""
    own_difference: float = 0.0
    noted_difference: float = 0.0
    failures: list[str] = field(default_factory=list)


def check_served_well(version: Path, samples: Sequence[Sample]) -> Findings:
    """Serve a SavedModel for a moment, and compare its answers.

    What the server takes for good enough on its own probes may be too far off on these
    images. Where that is bf16's doing, f32 is asked for.

    Args:
        version: its folder.
        samples: of the test split without, of the validation split with `noted`.
    """
    found = check_served(version, samples)
    if found.failures and found.engine == OPENVINO_BF16:
        again = check_served(version, samples, _F32)
        if not again.failures:
            return again
    return found


def check_served(version: Path, samples: Sequence[Sample], precision: str = "") -> Findings:
    """Check as `check_served_well` does, in one precision.

    Args:
        version: its folder.
        samples: as there.
        precision: that the server is told; its own choice where empty.
    """
    findings = Findings(precision=precision)
    try:
        own = _own_answers(version, samples)
        with _served(version, precision) as server:
            findings.engine = server.engine_of(_NAME)
            for name, ask in _FORMS.items():
                _compare(name, ask, server, samples, own, findings)
    except ServerFailedError as error:
        findings.failures.append(f"the server couldn't serve it: {_shortened(error)}")
    # Whatever a damaged SavedModel raises: the verdict is no, and the run goes on.
    except Exception as error:
        findings.failures.append(f"{type(error).__name__}: {_shortened(error)}")
    return findings


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[-_SAID_CHARACTERS:]


def _own_answers(version: Path, samples: Sequence[Sample]) -> np.ndarray:
    servable = TensorFlowServable(version)
    images = strings([sample.content for sample in samples])
    outputs = servable.run(contract.SIGNATURE_DEFAULT, {contract.INPUT_IMAGES: images})
    return outputs[contract.OUTPUT_PROBABILITIES]


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
    ask: Callable[[Server, bytes], tuple[str, np.ndarray]],
    server: Server,
    samples: Sequence[Sample],
    own: np.ndarray,
    findings: Findings,
) -> None:
    for sample, expected in zip(samples, own, strict=True):
        try:
            predicted, probabilities = ask(server, sample.content)
        except (requests.RequestException, grpc.RpcError, KeyError, ValueError) as error:
            findings.failures.append(f"{form}, {sample.sha256[:12]}: {_shortened(error)}")
            continue
        findings.requests += 1
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


def _rest(server: Server, body: dict[str, Any]) -> tuple[str, np.ndarray]:
    response = requests.post(
        f"{server.url}/v1/models/{_NAME}:predict", json=body, timeout=_TIMEOUT_S
    )
    if response.status_code != requests.codes.ok:
        raise ValueError(f"{response.status_code} {response.text}")
    (row,) = response.json()["predictions"]
    return row[contract.OUTPUT_PREDICTED], np.array(row[contract.OUTPUT_PROBABILITIES])


def _as_base64(server: Server, content: bytes) -> tuple[str, np.ndarray]:
    return _rest(server, {"instances": [{"b64": base64.b64encode(content).decode()}]})


def _as_example(server: Server, content: bytes) -> tuple[str, np.ndarray]:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    example = tf.train.Example(features=tf.train.Features(feature={contract.IMAGE: feature}))
    encoded = base64.b64encode(example.SerializeToString()).decode()
    body = {"signature_name": contract.SIGNATURE_EXAMPLES, "instances": [{"b64": encoded}]}
    return _rest(server, body)


def _as_bytes(server: Server, content: bytes) -> tuple[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = _NAME
    request.inputs[contract.INPUT_IMAGES].CopyFrom(tf.make_tensor_proto([content], tf.string))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=_TIMEOUT_S).outputs
    (predicted,) = tf.make_ndarray(outputs[contract.OUTPUT_PREDICTED])
    (probabilities,) = tf.make_ndarray(outputs[contract.OUTPUT_PROBABILITIES])
    return predicted.decode(), probabilities


_FORMS: Final = {
    "base64 over REST": _as_base64,
    "tf.Example over REST": _as_example,
    "bytes over gRPC": _as_bytes,
}
