"""Any number of classes, of any name: what is printed, judged, audited, studied and compiled."""

from __future__ import annotations

import contextlib
import io
import json
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import InputError
from common.runtime import prepare_environment
from components.radiograph_example_gen.cleaning import Cleaned, CleanImage, clean
from components.radiograph_example_gen.discovery import Discovery, Kind
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.selection import Usable
from components.radiograph_example_gen.settings import ClassFolders, Limits, Settings
from components.radiograph_example_gen.split import SplitImage, split_images
from pipeline.config.data import DataConfig
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.local.console import Console
from schema.class_tables import MOST_COLUMNS
from serving.prediction import Prediction, print_results
from tests.many_classes import SIXTY, class_names

prepare_environment()

from components.evaluator.eval_config import MOST_BINARIZED, eval_config  # noqa: E402
from components.model_card.content import class_results  # noqa: E402
from components.shortcut_audit.findings import findings  # noqa: E402
from components.shortcut_audit.shortcuts import METADATA, Shortcut, column_shortcut  # noqa: E402
from models.backbones import PAPER_CLASSES  # noqa: E402
from pipeline.check.images import ImagePool  # noqa: E402
from pipeline.kubeflow.compiler import compile_pipeline, to_yaml  # noqa: E402
from pipeline.study.outcomes import Outcome  # noqa: E402
from pipeline.study.report import model_report  # noqa: E402
from pipeline.study.tables import main_rows, markdown  # noqa: E402

COUNTS = (2, 4, 12, 100)
WIDTH = 160


def _folders(names: list[str]) -> list[dict[str, Any]]:
    """Of names that differ in case alone, the folders can't."""
    return [{"name": name, "folders": [f"folder {n}"]} for n, name in enumerate(names)]


def _config(names: list[str], folder: Path = Path("elsewhere")) -> PipelineConfig:
    data = {"dir": folder, "classes": _folders(names)}
    kubeflow = {"data": "gs://bucket/radiographs"}
    return load_config(preset="demo", overrides={"data": data, "kubeflow": kubeflow})


@pytest.mark.parametrize("count", COUNTS)
def test_names_of_any_kind_are_taken(count: int) -> None:
    config = _config(class_names(count))
    assert [one.name for one in config.data.classes] == class_names(count)
    assert config.data.healthy_class is None


def test_two_folders_that_are_one_are_refused() -> None:
    forms = [unicodedata.normalize(form, "Ödem") for form in ("NFC", "NFD")]
    classes = [{"name": form, "folders": [form]} for form in forms]
    with pytest.raises(ValidationError, match="folder given twice"):
        DataConfig.model_validate({"dir": "x", "classes": classes})


def test_a_label_means_the_class_that_is_called_exactly_so() -> None:
    classes = [ClassFolders("no finding", ("a",)), ClassFolders("No Finding", ("b",))]
    labels = ("No Finding", "no finding", "NO FINDING", "Tuberculosis")
    images = [
        Inspection(f"b/{number}.png", "No Finding", sha256=f"{number:064x}")
        for number in range(len(labels))
    ]
    rows = {
        image.path: Row(2, image.path, label) for image, label in zip(images, labels, strict=True)
    }
    cleaned = clean(images, rows, classes)
    assert [image.inspection.path for image in cleaned.images] == ["b/0.png", "b/2.png"]
    assert {item.kind for item in cleaned.left_out} == {Kind.BAD}
    settings = _settings(classes)
    assert settings.folders_of("No Finding") == ("b",)
    assert settings.folders_of("no finding") == ("a",)
    composed = ClassFolders(unicodedata.normalize("NFC", "Ödem"), ("c",))
    assert composed.accepts_label(unicodedata.normalize("NFD", "ÖDEM"))


def _settings(classes: list[ClassFolders]) -> Settings:
    fractions = Fraction(1, 5), Fraction(3, 10)
    return Settings("data", None, tuple(classes), 0, Limits(), *fractions)


def test_five_images_a_class_are_enough_and_four_are_not() -> None:
    names = class_names(100)

    def split(each: int) -> dict[str, dict[str, int]]:
        images = [
            SplitImage(f"{place:032x}{number:032x}", name)
            for place, name in enumerate(names)
            for number in range(each)
        ]
        return split_images(images, names, 1, Fraction(1, 5), Fraction(3, 10)).counts

    assert split(5) == {name: {"train": 3, "eval": 1, "test": 1} for name in names}
    with pytest.raises(InputError):
        split(4)


@pytest.mark.parametrize("count", COUNTS)
def test_the_terminal_shows_no_line_without_end(
    count: int, example_summary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = class_names(count)
    summary = example_summary(Path("out"))
    summary["data"] |= {
        "classes": names,
        "counts": {split: dict.fromkeys(names, 3) for split in ("train", "eval", "test")},
        "could_not_know": [],
        "deviations": [
            {"class_name": name, "split": "test", "got": 1, "wanted": 2, "reason": "few"}
            for name in names
        ],
    }
    for model in summary["models"].values():
        model["confusion"] = np.eye(count, dtype=int).tolist()
    file = io.StringIO()
    Console(file).result(summary, OutputLayout(Path("out")))
    text = file.getvalue()
    table = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert max(map(len, table)) <= WIDTH
    assert len(text) < 8_000
    assert ("in summary.json" in text) == (count > MOST_COLUMNS)
    assert ("train 3 each" in text) == (count > MOST_COLUMNS)
    assert SIXTY in text or count < 4
    assert text.count("test 1 instead of 2: few") == min(count, MOST_COLUMNS)


@pytest.mark.parametrize("count", COUNTS)
def test_predictions_are_a_table_that_can_be_read(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = class_names(count)
    values = {name: (count - place) / count for place, name in enumerate(names)}
    print_results([Prediction(Path("a.png"), names[0], values)])
    text = capsys.readouterr().out
    assert names[0] in text and "1.000" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    # Many or long names are no headings: the most probable are named.
    assert ("next" in text) == (count > 2)
    assert (names[-1] in text) == (count == 2)


@pytest.mark.parametrize(("count", "binarized"), [(2, 1), (MOST_BINARIZED, 1), (100, 0)])
def test_tfma_counts_each_class_against_the_rest_where_they_are_few(
    count: int, binarized: int
) -> None:
    config = eval_config(n_classes=count, min_accuracy=0.5, against_baseline=False)
    specs = [spec for spec in config.metrics_specs if spec.HasField("binarize")]
    assert len(specs) == binarized
    assert all(len(spec.binarize.class_ids.values) == count for spec in specs)


@pytest.mark.parametrize("count", COUNTS)
def test_the_audit_names_a_few_classes_and_counts_the_rest(count: int) -> None:
    def shortcut(seen: str, correct: int, name: str | None) -> Shortcut:
        return Shortcut(seen, name, correct, 200, correct / 200, (0.4, 0.9), 0.3, True)

    shortcuts = [shortcut(METADATA, 100, None)]
    shortcuts += [
        shortcut(column_shortcut("age"), 90 + n, name) for n, name in enumerate(class_names(count))
    ]
    no_duplicates = {"across_splits": 0, "probably_wrong_patient_ids": 0}
    no_patients = {"known": 3, "images_without_patient": 0, "across_splits": 0}
    said = [f.sentence for f in findings(no_duplicates, no_patients, shortcuts)]
    assert len(said) <= 12
    if count == 100:
        assert any("Finding no. 99 from the other classes" in sentence for sentence in said)
        assert (
            "A column tells 94 more classes from the other ones; audit.json has them all." in said
        )


def _image(name: str, number: int) -> CleanImage:
    inspection = Inspection(f"{name}/{number}.png", name, sha256=f"{number:064x}")
    return CleanImage(inspection, None, frozenset(), "")


def _study(names: list[str]) -> dict[str, Any]:
    """A study of one seed in which each image is read as the next class."""
    classes = [ClassFolders(name, (f"folder {n}",)) for n, name in enumerate(names)]
    images = tuple(_image(name, number) for number, name in enumerate(names))
    usable = Usable(Discovery((), (), {}), Cleaned(images, (), 0), ())
    outcome = Outcome(
        seed=0,
        validation={
            "accuracy": 0.0,
            "loss": 9.0,
            "abstain": {"threshold": 0.5, "target": 0.99},
        },
        sha256=tuple(f"{number:064x}" for number in range(len(names))),
        labels=np.arange(len(names)),
        probabilities=np.roll(np.eye(len(names)), 1, axis=1),
        multiply_adds=1e9,
    )
    pool = ImagePool(_settings(classes), usable)
    counts = {name: {"train": 3, "eval": 1, "test": 1} for name in names}
    split = {"seed": 0, "counts": counts, "patients_in_two_splits": None, "deviations": []}
    return {
        "seeds": [0],
        "models": {"vgg16": model_report("vgg16", [outcome], pool, "random")},
        "data": {
            "classes": names,
            "clean": dict.fromkeys(names, 5),
            "left_out": {},
            "splits": [split],
        },
        "date": "2026-01-02",
        "machine": {"cpu": "A CPU", "cores": 2},
        "code": None,
        "engine": {"name": "tensorflow", "version": "2.16"},
        "preset": "fast",
        "results": 1,
        "reused": 0,
        "seconds": {"total": 12.0, "training": 8.0},
    }


@pytest.mark.parametrize("count", COUNTS)
def test_a_studys_tables_stay_tables(count: int) -> None:
    report = _study(class_names(count))
    text = markdown(report)
    widest = max(line.count("|") for line in text.splitlines() if line.startswith("|"))
    assert widest <= MOST_COLUMNS + 3
    assert len(text) < 20_000


@pytest.mark.parametrize("names", [class_names(3), list(PAPER_CLASSES), list(PAPER_CLASSES[::-1])])
def test_a_study_holds_the_paper_beside_its_own_classes_alone(names: list[str]) -> None:
    report = _study(names)
    model = report["models"]["vgg16"]
    same = sorted(names) == sorted(PAPER_CLASSES)
    assert (model["paper"] is not None) == same
    (row,) = main_rows(report)
    assert (row[-1] == "–") == (not same)
    if names == list(PAPER_CLASSES[::-1]):
        straight = _study(list(PAPER_CLASSES))["models"]["vgg16"]["paper"]["confusion"]
        assert model["paper"]["confusion"] == [row[::-1] for row in straight[::-1]]


@pytest.mark.parametrize("count", COUNTS)
def test_a_card_has_a_result_a_class(count: int) -> None:
    names = class_names(count)
    results = class_results(names, np.eye(count, dtype=int).tolist())
    assert [one.name for one in results] == names
    assert {one.sensitivity.value for one in results} == {1.0}


def _json_inside(value: Any) -> Iterator[Any]:
    """Whatever texts anywhere in it hold as JSON."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _json_inside(inner)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            yield json.loads(value)


@pytest.mark.parametrize("count", [2, 100])
def test_kubeflows_ir_holds_the_names_as_they_are(count: int) -> None:
    documents = compile_pipeline(_config(class_names(count)))
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert all(name.isascii() and len(name) <= 63 for name in tasks)
    assert _folders(class_names(count)) in list(_json_inside(documents))
    assert "Tuberculosis" in to_yaml(documents)
