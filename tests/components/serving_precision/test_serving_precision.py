"""The choice of a precision, from the node to what is pushed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from common.digests import digest_of  # noqa: E402
from components.serving_precision.artifact import ServingPrecisionFiles  # noqa: E402
from components.serving_precision.beside import (  # noqa: E402
    put_precision_beside,
)
from components.serving_precision.executor import Executor, read_images  # noqa: E402
from components.serving_precision.note import PRECISION  # noqa: E402
from components.serving_pusher.executor import Executor as PusherExecutor  # noqa: E402
from schema import contract  # noqa: E402
from serving.networks import int8_push  # noqa: E402
from serving.networks.int8_choice import Int8Choice, Machine  # noqa: E402

MACHINE = Machine("a CPU", ("amx_int8",), "2026.4", "3.4")
XML = f"int8-{'a' * 64}.xml"


def _artifact(kind: Any, folder: Path, **properties: str | int) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in properties.items():
        if isinstance(value, int):
            artifact.set_int_custom_property(name, value)
        else:
            artifact.set_string_custom_property(name, value)
    return artifact


@pytest.fixture
def examples(tmp_path: Path) -> Any:
    """Images whose grey level is their number; Transform wrote the last first."""
    artifact = _artifact(standard_artifacts.Examples, tmp_path / "examples")
    artifact.split_names = json.dumps(["train", "eval"])
    for split, count in (("train", 3), ("eval", 2)):
        folder = tmp_path / "examples" / f"Split-{split}"
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
            for index in reversed(range(count)):
                png = tf.io.encode_png(np.full((256, 256, 1), index, np.uint8)).numpy()
                example = tf.train.Example()
                feature = example.features.feature
                feature[contract.TRANSFORMED_IMAGE].bytes_list.value.append(png)
                feature[contract.SHA256].bytes_list.value.append(f"{index}".encode())
                writer.write(example.SerializeToString())
    return artifact


def _run(
    tmp_path: Path, examples: Any, precision: str, *, blessed: bool = True
) -> tuple[Any, list[str]]:
    """The artifact, and the names of its files."""
    files = _artifact(ServingPrecisionFiles, tmp_path / "files")
    model = _artifact(standard_artifacts.Model, tmp_path / "model")
    (tmp_path / "model" / "Format-Serving").mkdir(exist_ok=True)
    blessing = _artifact(standard_artifacts.ModelBlessing, tmp_path / "b", blessed=int(blessed))
    given = {"model": [model], "blessing": [blessing], "transformed_examples": [examples]}
    Executor().Do(given, {"files": [files]}, {"precision": precision})
    return files, sorted(file.name for file in (tmp_path / "files").iterdir())


def _choice(chosen: bool) -> Int8Choice:
    files = {"a" * 64: {XML: "0"}} if chosen else {}
    return Int8Choice(chosen, "so", "openvino-f32", 1.0, ("a" * 64,), files, MACHINE, None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Int8 is chosen where `chosen` says so; what was asked about."""
    asked: dict[str, Any] = {"chosen": True}

    def choose(
        model: Path, train: Sequence[Any], validation: Sequence[Any], target: Path, store: Any
    ) -> Int8Choice:
        asked["levels"] = [[int(image.max()) for image in split] for split in (train, validation)]
        choice = _choice(asked["chosen"])
        (target / "int8.json").write_text(choice.to_text())
        for names in choice.files.values():
            for name in names:
                (target / name).write_text("network")
        return choice

    monkeypatch.setattr(int8_push, "choose_int8", choose)
    return asked


@pytest.mark.parametrize("precision", ["bf16", "f32"])
def test_a_precision_that_was_asked_for_is_noted(
    precision: str, tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    _, names = _run(tmp_path, examples, precision)
    assert names == ["cxr_serving.json"]
    assert json.loads((tmp_path / "files" / names[0]).read_text()) == {"precision": precision}
    assert "levels" not in asked


def test_int8_is_tried_on_train_and_validation_images_in_a_fixed_order(
    tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    _, names = _run(tmp_path, examples, "int8")
    assert names == ["cxr_serving.json", XML, "int8.json"]
    assert asked["levels"] == [[0, 1, 2], [0, 1]]
    assert json.loads((tmp_path / "files" / names[0]).read_text()) == {"precision": "int8"}
    (first, _) = read_images(f"{examples.uri}/Split-eval")
    assert (first.shape, first.dtype) == ((256, 256, 1), np.uint8)


def test_int8_that_isnt_chosen_leaves_the_choice_alone(
    tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    asked["chosen"] = False
    assert _run(tmp_path, examples, "int8")[1] == ["int8.json"]


def test_a_model_that_isnt_blessed_costs_nothing(
    tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    _, names = _run(tmp_path, examples, "int8", blessed=False)
    assert names == []
    assert "levels" not in asked


def test_all_of_it_is_pushed_and_the_artifact_of_the_model_left_alone(
    tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    files, names = _run(tmp_path, examples, "int8")
    saved_model = tmp_path / "model" / "Format-Serving"
    (saved_model / "saved_model.pb").write_text("model")
    model = _artifact(standard_artifacts.Model, tmp_path / "model")
    context = PusherExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    copied = Path(
        PusherExecutor(context).GetModelPath({"model": [model], "precision_files": [files]})
    )
    sbom = Path(contract.SBOM_FILE).name
    beside = (copied / contract.EXTRA_ASSETS).iterdir()
    assert sorted(file.name for file in beside) == sorted([*names, sbom])
    assert [file.name for file in saved_model.iterdir()] == ["saved_model.pb"]
    without = Path(PusherExecutor(context).GetModelPath({"model": [model]}))
    alone = (file.name for file in without.rglob("*") if file.is_file())
    assert sorted(alone) == ["saved_model.pb", sbom]


def test_infra_check_has_the_last_word(
    tmp_path: Path, examples: Any, asked: dict[str, Any]
) -> None:
    files, _ = _run(tmp_path, examples, "int8")
    infra = _artifact(standard_artifacts.InfraBlessing, tmp_path / "i", **{PRECISION: "f32"})
    pushed = tmp_path / "pushed"
    put_precision_beside([files], [infra], str(pushed))
    beside = {file.name: file.read_text() for file in (pushed / contract.EXTRA_ASSETS).iterdir()}
    assert sorted(beside) == ["cxr_serving.json", "int8.json"]
    assert json.loads(beside["cxr_serving.json"]) == {"precision": "f32"}
    choice = json.loads(beside["int8.json"])
    assert not choice["chosen"]
    assert choice["reason"].startswith("InfraCheck found answers that are off")
    assert choice.pop("digest") == digest_of(choice)
