"""Servables that answer as this project's models, and what they logged."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from schema import contract
from serving.prediction_log.reading import Reading, find_shards, read_shards
from serving.protocol.tensors import Tensors, TensorSpec, strings
from serving.servables.servable import CLASSIFY, PREDICT, REGRESS, Servable, Signature

CLASSES = [b"COVID-19", b"NORMAL", b"Viral Pneumonia"]
# Too large to be logged. As JSON, one of 256 x 256 takes a fifth of a second.
_MAP = (64, 64)
_ANSWER = {
    contract.OUTPUT_CLASSES: TensorSpec("string", (-1, 3)),
    contract.OUTPUT_PROBABILITIES: TensorSpec("float", (-1, 3)),
    contract.OUTPUT_PREDICTED: TensorSpec("string", (-1,)),
    contract.OUTPUT_ABSTAIN: TensorSpec("bool", (-1,)),
    contract.OUTPUT_HEAT_MAP: TensorSpec("float", (-1, *_MAP)),
}
_STRINGS = TensorSpec("string", (-1,))


class Radiologist(Servable):
    """Answers by an image's size: the first class, and unsure where it is short."""

    engine = "fake"

    def __init__(self) -> None:
        signatures = [
            Signature("serving_default", PREDICT, {contract.INPUT_IMAGES: _STRINGS}, _ANSWER),
            Signature("serve_examples", PREDICT, {contract.INPUT_EXAMPLES: _STRINGS}, _ANSWER),
            Signature(
                "serve_with_table",
                PREDICT,
                {
                    contract.INPUT_IMAGES: _STRINGS,
                    "sex": _STRINGS,
                    "notes": _STRINGS,
                    "crp": TensorSpec("float", (-1,)),
                },
                _ANSWER,
            ),
            Signature(
                "classify",
                CLASSIFY,
                {"inputs": _STRINGS},
                {"classes": TensorSpec("string", (-1, 3)), "scores": TensorSpec("float", (-1, 3))},
            ),
            Signature(
                "regress", REGRESS, {"inputs": _STRINGS}, {"outputs": TensorSpec("float", (-1,))}
            ),
        ]
        super().__init__({s.name: s for s in signatures}, {})

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        count = len(next(iter(inputs.values())))
        names = strings(CLASSES * count).reshape(count, 3)
        sure = np.tile(np.array([0.5, 0.3, 0.2], np.float32), (count, 1))
        if signature.name == "classify":
            return {"classes": names, "scores": sure}
        if signature.name == "regress":
            return {"outputs": np.full(count, 0.25, np.float32)}
        return {
            contract.OUTPUT_CLASSES: names,
            contract.OUTPUT_PROBABILITIES: sure,
            contract.OUTPUT_PREDICTED: strings(CLASSES[:1] * count),
            contract.OUTPUT_ABSTAIN: np.ones(count, np.bool_),
            contract.OUTPUT_HEAT_MAP: np.zeros((count, *_MAP), np.float32),
        }


def png(seed: int = 0, size: int = 32) -> bytes:
    """Noise, as a grey PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 1), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder_of(base: Path) -> Path:
    """A folder of one model, `lungs`, version 7."""
    (base / "models" / "lungs" / "7").mkdir(parents=True)
    return base / "models"


def ask(url: str, *images: bytes, signature: str = "serving_default") -> dict[str, Any]:
    """The answer of REST."""
    instances = [{"b64": b64encode(image).decode()} for image in images]
    body = json.dumps({"signature_name": signature, "instances": instances})
    answer = requests.post(f"{url}/v1/models/lungs:predict", data=body, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def records(place: Path) -> list[prediction_log_pb2.PredictionLog]:
    """All records below a folder; none may be torn."""
    reading = Reading()
    found = [log for _, log in read_shards(find_shards(place), reading)]
    assert reading == Reading(len(found))
    return found
