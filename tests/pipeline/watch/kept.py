"""A pushed version's record, and a log of answers, both made up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorflow_serving.apis import prediction_log_pb2

from components.pushed_versions.record import MODEL, RECORD_FILE, SPLIT
from components.radiograph_example_gen.image_facts import IMAGE_FACTS_FILE
from components.radiograph_example_gen.span_facts import NUMBERS, TEXTS
from models.predictions import Predictions
from schema import contract
from serving.prediction_log.examples import put
from serving.prediction_log.settings import LogSettings
from serving.prediction_log.shards import Shards

CLASSES = ("COVID-19", "NORMAL", "Viral Pneumonia")
VERSION = 1_790_000_000
DAY = 86_400
NOON = VERSION - VERSION % DAY + DAY + DAY // 2


@dataclass(frozen=True)
class Source:
    """The source of images.

    Attributes:
        mean: grey level, on average.
        sure: of the right class, on average.
        view: of all its images.
    """

    mean: float = 120.0
    sure: float = 0.9
    view: str = "PA"


@dataclass(frozen=True)
class Image:
    """An image of a source, and what is answered."""

    digest: str
    mean: float
    probabilities: tuple[float, ...]
    label: int
    view: str

    @property
    def truth(self) -> str:
        return CLASSES[self.label]


def images(source: Source, count: int, seed: int) -> list[Image]:
    """Draw images: the answer is right as often as its confidence says."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        sure = float(np.clip(draw.normal(source.sure, 0.05), 0.4, 0.999))
        predicted = index % 3
        rest = (1 - sure) / 2
        probabilities = [rest] * 3
        probabilities[predicted] = sure
        right = draw.random() < sure
        label = predicted if right else (predicted + 1) % 3
        digest = hashlib.sha256(f"{source} {seed} {index}".encode()).hexdigest()
        mean = float(draw.normal(source.mean, 15.0))
        found.append(Image(digest, mean, tuple(probabilities), label, source.view))
    return found


def keep_version(pushed: Path, name: str = "lungs", number: int = VERSION) -> list[Image]:
    """Write the record of a version that was trained with 300 images of a source."""
    trained = images(Source(), 300, 0)
    folder = pushed / name / str(number)
    folder.mkdir(parents=True)
    (folder / RECORD_FILE).write_text(json.dumps({MODEL: name, SPLIT: "split"}))
    (folder / contract.SUMMARY_FILE).write_text(json.dumps({"classes": CLASSES}))
    lines = [f"a.png,NORMAL,,{image.digest},train" for image in trained]
    (folder / "manifest.csv").write_text("\n".join(["file,class,patient,sha256,split", *lines]))
    facts = [",".join(("sha256", "split", *NUMBERS, *TEXTS))]
    for image in trained:
        known = {contract.MEAN: str(image.mean), contract.WIDTH: "299", contract.VIEW: image.view}
        cells = [known.get(name, "") for name in NUMBERS]
        cells += [known.get(name, contract.UNKNOWN) for name in TEXTS]
        facts.append(",".join((image.digest, "train", *cells)))
    (folder / IMAGE_FACTS_FILE).write_text("\n".join(facts))
    held_out = images(Source(), 200, 1)
    predictions = Predictions(
        tuple(image.digest for image in held_out),
        np.array([image.label for image in held_out]),
        {contract.FLAT: np.array([image.probabilities for image in held_out])},
        1,
    )
    (folder / contract.PREDICTIONS_FILE).write_text(json.dumps(predictions.to_json()))
    return trained


def write_log(
    folder: Path,
    asked: Sequence[Image],
    seconds: Sequence[int] | int = NOON,
    name: str = "lungs",
    number: int = VERSION,
) -> Path:
    """Write a log of requests about images; return its one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = Shards(folder / f"log-{len(list(folder.iterdir()))}", LogSettings())
    times = [seconds] * len(asked) if isinstance(seconds, int) else seconds
    for image, time in zip(asked, times, strict=True):
        shards.write(_record(image, time, name, number).SerializeToString())
    shards.close()
    return max(folder.glob("*.tfrecord"), key=lambda path: path.name)


def _record(image: Image, time: int, name: str, number: int) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.model_spec.name = name
    log.log_metadata.model_spec.version.value = number
    log.log_metadata.timestamp_secs = time
    example = log.classify_log.request.input.example_list.examples.add()
    put(example, contract.SHA256, [image.digest.encode()])
    put(example, contract.MEAN, [image.mean])
    put(example, contract.WIDTH, [299])
    put(example, contract.VIEW, [image.view.encode()])
    classes = log.classify_log.response.result.classifications.add().classes
    for label, score in zip(CLASSES, image.probabilities, strict=True):
        classes.add(label=label, score=score)
    return log
