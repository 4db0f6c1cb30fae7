"""Files of results: each once, whole, and none without its image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from common.errors import InputError
from models.rendering import Rendering
from schema import contract
from schema.table import TableColumn, to_json
from serving import explained, local_client
from serving.dicom_results.files import require_dicom, write_results
from serving.dicom_results.identity import Algorithm, algorithm_of
from serving.prediction import Failure, Prediction, Result
from serving.protocol.tensors import strings
from tests.command_line import cxr
from tests.pipeline.deidentify.radiographs import another, radiograph, save


def draw(content: bytes, heat: np.ndarray) -> Image.Image:
    assert content[128:132] == b"DICM"
    return Image.fromarray((heat * 255).astype(np.uint8)).resize((64, 64)).convert("RGB")


class TableServable:
    """Stands for a model that takes a column beside the image; keeps which signatures it ran."""

    rendering = Rendering()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def signature(self, name: str) -> SimpleNamespace:
        of_table = {"crp": None} if name == contract.SIGNATURE_TABLE else {}
        return SimpleNamespace(inputs={contract.INPUT_IMAGES: None, **of_table})

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append(name)
        assert inputs["crp"].tolist() == [12.5]
        return {
            contract.OUTPUT_CLASSES: strings([b"COVID-19", b"NORMAL"])[np.newaxis],
            contract.OUTPUT_PROBABILITIES: np.array([[0.75, 0.25]], np.float32),
            contract.OUTPUT_PREDICTED: strings([b"COVID-19"]),
            contract.OUTPUT_ABSTAIN: np.array([False]),
        }


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(radiograph(), tmp_path / "images" / "IM1")


def test_a_report_and_a_heat_map_are_written(
    image: Path, tmp_path: Path, answer: Prediction, algorithm: Algorithm
) -> None:
    (result,) = write_results(
        [replace(answer, file=image)], tmp_path / "new" / "out", algorithm, draw
    )
    assert isinstance(result, Prediction)
    made = [pydicom.dcmread(file) for file in result.dicom]
    assert [one.Modality for one in made] == ["SR", "OT"]
    assert [file.name for file in result.dicom] == [f"{one.SOPInstanceUID}.dcm" for one in made]
    assert sorted((tmp_path / "new" / "out").iterdir()) == sorted(result.dicom)
    assert result.to_json()["dicom"] == [str(file) for file in result.dicom]


def test_written_twice_it_is_the_same(
    image: Path, tmp_path: Path, answer: Prediction, algorithm: Algorithm
) -> None:
    out = tmp_path / "out"

    def content() -> dict[str, tuple[bytes, int]]:
        list(write_results([replace(answer, file=image)], out, algorithm, draw))
        return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in out.iterdir()}

    assert content() == content()
    assert len(list(out.iterdir())) == 2


def test_without_a_heat_map_there_is_a_report(
    image: Path, tmp_path: Path, answer: Prediction, algorithm: Algorithm
) -> None:
    given = replace(answer, file=image, heat_map=None)
    (result,) = write_results([given], tmp_path / "out", algorithm, draw)
    assert isinstance(result, Prediction) and len(result.dicom) == 1


def test_an_image_without_a_study_is_listed_and_the_others_go_on(
    image: Path, tmp_path: Path, answer: Prediction, algorithm: Algorithm
) -> None:
    lost = save(another(1, StudyInstanceUID=None), tmp_path / "images" / "IM2")
    gone = Failure(tmp_path / "gone", "can't be read")
    results = list(
        write_results(
            [replace(answer, file=lost), gone, replace(answer, file=image)],
            tmp_path / "out",
            algorithm,
            draw,
        )
    )
    assert isinstance(results[0], Failure)
    assert "has no StudyInstanceUID" in results[0].why
    assert results[1] is gone
    assert isinstance(results[2], Prediction) and len(results[2].dicom) == 2


def test_a_folder_that_cant_be_written_is_the_users_to_mend(
    image: Path, tmp_path: Path, answer: Prediction, algorithm: Algorithm
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"dicom-out: .* can't be written"):
        list(write_results([replace(answer, file=image)], tmp_path / "out", algorithm, draw))


def test_images_that_are_no_dicom_are_refused_before_any_is_classified(
    image: Path, tmp_path: Path
) -> None:
    png = tmp_path / "images" / "a.dcm"
    Image.new("L", (32, 32)).save(png, "PNG")
    require_dicom([image, tmp_path / "missing.dcm"])
    with pytest.raises(InputError, match=r"1 of 2 images are no DICOM files") as refused:
        require_dicom([image, png])
    assert str(png) in str(refused.value)


def test_a_pushed_version_is_known_by_its_files(tmp_path: Path) -> None:
    version = tmp_path / "champion" / "1795926600"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"one")
    first = algorithm_of(version)
    assert (first.name, first.version) == ("champion", "1795926600")
    assert first.pushed.isoformat() == "2026-11-29T04:30:00+00:00"
    (version / "saved_model.pb").write_bytes(b"two")
    assert algorithm_of(version).digest != first.digest
    with pytest.raises(InputError, match="number that is a time"):
        algorithm_of(version.rename(version.with_name("9" * 30)))


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    version = tmp_path / "serving" / "champion" / "1795926600"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"one")
    return tmp_path / "serving"


def test_predict_asks_for_heat_maps_and_writes_the_results(
    image: Path,
    serving: Path,
    tmp_path: Path,
    answer: Prediction,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[dict[str, Any]] = []

    def predict_files(files: Sequence[Path], *_: object, **options: Any) -> Iterator[Result]:
        asked.append(options)
        return (replace(answer, file=file) for file in files)

    monkeypatch.setattr(local_client, "predict_files", predict_files)
    drawn: list[Rendering] = []

    def overlay(content: bytes, heat: np.ndarray, rendering: Rendering) -> Image.Image:
        drawn.append(rendering)
        return draw(content, heat)

    monkeypatch.setattr(explained, "overlay", overlay)
    words = ("predict", image, "--model-dir", serving, "--dicom-out", tmp_path / "out")
    assert cxr(monkeypatch, *words, "--json", "--dicom-window", "2") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert asked[0]["explain"] is True
    # What the model saw is what lies under its heat map.
    assert drawn == [asked[0]["rendering"]] == [Rendering(2, 0.0)]
    report, heat = (pydicom.dcmread(file) for file in said["dicom"])
    assert report.SoftwareVersions == "1795926600"
    assert heat.Modality == "OT"
    assert cxr(monkeypatch, *words) == 0
    assert f"reports and heat maps in {tmp_path / 'out'}" in capsys.readouterr().out


def test_with_a_table_there_are_reports_alone_and_no_picture(
    image: Path,
    serving: Path,
    tmp_path: Path,
    answer: Prediction,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (version,) = (serving / "champion").iterdir()
    (version / "assets.extra").mkdir()
    columns = to_json([TableColumn("crp", "crp_val", "numeric")])
    (version / contract.TABLE_FILE).write_text(str(columns))
    rows = tmp_path / "rows.csv"
    rows.write_text("file,crp_val\nIM1,12.5\n")
    servable = TableServable()
    monkeypatch.setattr(local_client, "_load", lambda *_: servable)
    words = ("predict", image, "--model-dir", serving, "--table", rows)
    out = tmp_path / "out"
    assert cxr(monkeypatch, *words, "--dicom-out", out) == 0
    assert f"reports in {out}: not for diagnosis" in capsys.readouterr().out
    (file,) = out.iterdir()
    report = pydicom.dcmread(file)
    assert report.Modality == "SR"
    assert b"values beside it: crp." in file.read_bytes()
    assert servable.asked == [contract.SIGNATURE_TABLE]
    assert cxr(monkeypatch, *words, "--dicom-out", out, "--explain", tmp_path / "map.png") == 2
    assert "leave --explain out" in capsys.readouterr().err


def test_a_server_isnt_asked_for_results(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", image, "--url", "http://127.0.0.1:1", "--dicom-out", tmp_path / "out")
    assert cxr(monkeypatch, *words) == 2
    assert "a server doesn't tell its model's digest" in capsys.readouterr().err
