"""A model that reads its answers from the images, judged by TFMA as Evaluator does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
import tensorflow_model_analysis as tfma  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.model_card.executor import Executor  # noqa: E402
from components.radiograph_example_gen.artifact import SplitManifest  # noqa: E402
from components.radiograph_example_gen.manifest import Summary, write_manifest  # noqa: E402
from pipeline.evaluation import eval_config  # noqa: E402
from schema import contract  # noqa: E402

# What users may call things.
CLASSES = ["Covid | <b>19</b>", "*Normal*", "Other_[1](x)"]
SOURCES = ["here|there", "<script>alert(1)</script>", "unknown"]
_PROBABILITIES = "answer"


@dataclass(frozen=True)
class Image:
    """A test image: its class, what the model takes it for, how sure it is, and its metadata."""

    label: int
    predicted: int
    confidence: float = 0.9
    source: str = SOURCES[0]
    sex: str = "unknown"


# Rows true, columns predicted: [[3, 1, 0], [0, 4, 0], [2, 2, 0]].
IMAGES = [
    *[Image(0, 0)] * 3,
    Image(0, 1, confidence=0.6, sex="F"),
    *[Image(1, 1, source=SOURCES[1])] * 4,
    *[Image(2, 0, confidence=0.7, source=SOURCES[2], sex="M")] * 2,
    *[Image(2, 1, source=SOURCES[2])] * 2,
]
CONFUSION = [[3, 1, 0], [0, 4, 0], [2, 2, 0]]

VALIDATION = {
    "accuracy": 0.75,
    "loss": 0.5,
    "total": 4,
    "confusion": [[1, 0, 0], [0, 2, 0], [0, 1, 0]],
    "temperature": 0.8,
    "abstain": {"threshold": 0.65, "target": 0.9, "coverage": 1.0, "accuracy": 1.0, "curve": []},
}
SUMMARY = Summary(
    classes=tuple(CLASSES),
    seed=7,
    fractions={"test": "1/5", "eval": "3/10"},
    images_found={name: 30 + index for index, name in enumerate(CLASSES)},
    images_clean={name: 28 + index for index, name in enumerate(CLASSES)},
    images_per_class=20,
    split_counts={name: {"train": 11, "eval": 5, "test": 4} for name in CLASSES},
    left_out={"duplicate": 4, "bad": 2},
    duplicates_dropped=4,
    patients={"train": 20, "eval": 9, "test": 8},
    images_without_patient=3,
    patients_in_two_splits=0,
    digest="d1",
    sources={
        CLASSES[0]: {SOURCES[0]: 20},
        CLASSES[1]: {SOURCES[1]: 20},
        CLASSES[2]: {SOURCES[1]: 5, SOURCES[2]: 15},
    },
    licences={name: {"CC BY-NC-SA": 19, "unknown": 1} for name in CLASSES},
)


class _Oracle(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {_PROBABILITIES: tf.io.FixedLenFeature([3], tf.float32)}
        parsed = tf.io.parse_example(examples, spec)
        return {contract.OUTPUT_PROBABILITIES: parsed[_PROBABILITIES]}


def _serialized(index: int, image: Image) -> bytes:
    example = tf.train.Example()
    feature = example.features.feature
    feature[contract.LABEL].int64_list.value.append(image.label)
    feature[contract.SHA256].bytes_list.value.append(f"{index:064x}".encode())
    probabilities = [(1 - image.confidence) / 2] * 3
    probabilities[image.predicted] = image.confidence
    feature[_PROBABILITIES].float_list.value.extend(probabilities)
    for name, value in {
        contract.LABEL_TEXT: CLASSES[image.label],
        contract.SOURCE: image.source,
        contract.VIEW: "PA",
        contract.SEX: image.sex,
        contract.AGE_GROUP: "unknown",
    }.items():
        feature[name].bytes_list.value.append(value.encode())
    return bytes(example.SerializeToString())


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TFMA's result on IMAGES, with a gate at 0.9."""
    folder = tmp_path_factory.mktemp("evaluation")
    oracle = _Oracle()
    tf.saved_model.save(oracle, str(folder / "model"), {contract.SIGNATURE_EXAMPLES: oracle.answer})
    config = tfma.utils.update_eval_config_with_defaults(
        eval_config(n_classes=3, min_accuracy=0.9, against_baseline=False), has_baseline=False
    )
    with tf.io.TFRecordWriter(str(folder / "test.tfrecord")) as writer:
        for index, image in enumerate(IMAGES):
            writer.write(_serialized(index, image))
    tfma.run_model_analysis(
        tfma.default_eval_shared_model(str(folder / "model"), eval_config=config),
        eval_config=config,
        data_location=str(folder / "test.tfrecord"),
        output_path=str(folder / "result"),
    )
    return folder / "result"


@dataclass(frozen=True)
class Written:
    """Both files of a card."""

    page: str
    text: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON file's content."""
        content: dict[str, Any] = json.loads(self.text)
        return content


WriteCard = Callable[..., Written]


@pytest.fixture
def write_card(evaluation: Path, tmp_path: Path) -> WriteCard:
    """(training, validation, weights …) -> the card that the executor writes of them."""
    calls = 0

    def artifact(kind: type[Any], name: str, **properties: int | str) -> Any:
        made = kind()
        made.uri = str(tmp_path / str(calls) / name)
        Path(made.uri).mkdir(parents=True)
        for key, value in properties.items():
            if isinstance(value, int):
                made.set_int_custom_property(key, value)
            else:
                made.set_string_custom_property(key, value)
        return made

    def call(
        *,
        training: dict[str, Any] | None = None,
        validation: dict[str, Any] | None = None,
        weights: dict[str, str] | None = None,
        served: bool | None = None,
        continued: dict[str, Any] | None = None,
        **summary: Any,
    ) -> Written:
        nonlocal calls
        calls += 1
        run = artifact(standard_artifacts.ModelRun, "run")
        Path(run.uri, contract.VALIDATION_FILE).write_text(json.dumps(validation or VALIDATION))
        if training is not None:
            Path(run.uri, contract.TRAINING_FILE).write_text(json.dumps(training))
        if continued is not None:
            Path(run.uri, contract.CONTINUED_FILE).write_text(json.dumps(continued))
        manifest = artifact(SplitManifest, "manifest")
        write_manifest(manifest.uri, [], [], replace(SUMMARY, **summary))
        judged = standard_artifacts.ModelEvaluation()
        judged.uri = str(evaluation)
        inputs = {
            "model_run": [run],
            "evaluation": [judged],
            "blessing": [artifact(standard_artifacts.ModelBlessing, "blessing", blessed=0)],
            "manifest": [manifest],
        }
        if weights is not None:
            inputs["pretrained"] = [artifact(standard_artifacts.Model, "pretrained", **weights)]
        if served is not None:
            blessing = artifact(standard_artifacts.InfraBlessing, "infra", blessed=int(served))
            inputs["infra_blessing"] = [blessing]
        card = artifact(standard_artifacts.ModelRun, "card")
        properties = {
            "name": "vgg16",
            "classes": json.dumps(CLASSES),
            "seed": 7,
            "preset": "fast",
            "gate": json.dumps({"min_accuracy": 0.9, "min_wilson_lower": None}),
            "versions": json.dumps({"tfx": "1.16.0", "python": "3.10.1"}),
            "code_digest": "",
        }
        Executor().Do(inputs, {"model_card": [card]}, properties)
        page, text = (
            Path(card.uri, name).read_text(encoding="utf-8")
            for name in (contract.MODEL_CARD_FILE, contract.MODEL_CARD_DATA_FILE)
        )
        return Written(page, text)

    return call
