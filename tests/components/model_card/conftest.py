"""Cards of answers that are made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

from tfx.types import standard_artifacts  # noqa: E402

from components.evaluator.eval_config import eval_config  # noqa: E402
from components.model_card.executor import Executor  # noqa: E402
from components.radiograph_example_gen.artifact import SplitManifest  # noqa: E402
from components.radiograph_example_gen.manifest import Summary, write_manifest  # noqa: E402
from schema import contract  # noqa: E402
from tests.pipeline.made_evaluation import Answered, evaluated  # noqa: E402

# What users may call things.
CLASSES = ["Covid | <b>19</b>", "*Normal*", "Other_[1](x)"]
SOURCES = ["here|there", "<script>alert(1)</script>", "unknown"]


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


def _answered(index: int, image: Image) -> Answered:
    probabilities = [(1 - image.confidence) / 2] * 3
    probabilities[image.predicted] = image.confidence
    features = {
        contract.SHA256: f"{index:064x}",
        contract.LABEL_TEXT: CLASSES[image.label],
        contract.SOURCE: image.source,
        contract.VIEW: "PA",
        contract.SEX: image.sex,
        contract.AGE_GROUP: "unknown",
    }
    return Answered(image.label, probabilities, features=features)


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of IMAGES, with a gate at 0.9."""
    config = eval_config(n_classes=3, min_accuracy=0.9, against_baseline=False)
    answered = [_answered(index, image) for index, image in enumerate(IMAGES)]
    folder = tmp_path_factory.mktemp("evaluation")
    return Path(evaluated(folder, config, answered, has_baseline=False))


@dataclass(frozen=True)
class Written:
    """A card's files; the note on DICOM only where there is one."""

    page: str
    text: str
    note: str | None

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
        input_gate: dict[str, Any] | None = None,
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
        if input_gate is not None:
            judged.uri = str(tmp_path / str(calls) / "judged")
            shutil.copytree(evaluation, judged.uri)
            Path(judged.uri, contract.INPUT_GATE_FILE).write_text(json.dumps(input_gate))
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
        note = Path(card.uri, Path(contract.RENDERING_NOTE_FILE).name)
        return Written(page, text, note.read_text() if note.exists() else None)

    return call
