"""Others' programs read the results: dsrdump, dciodvfy and dicom-validator.

Debian's packages dcmtk and dicom3tools have the first two. dicom-validator reads the standard's own
tables, which it downloads once into ~/dicom-validator (`validate_iods FILE`); no test downloads.
Two tests give it the tables that highdicom's package brings (standard_tables.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from serving.dicom_results.files import encoded
from serving.dicom_results.heat_map import make_heat_map
from serving.dicom_results.identity import Algorithm
from serving.dicom_results.report import make_report
from serving.prediction import Prediction
from tests.pipeline.deidentify.radiographs import radiograph
from tests.serving.dicom_results.test_objects import BARE

pytestmark = pytest.mark.long
STANDARD = Path(os.environ.get("DICOM_STANDARD", Path.home() / "dicom-validator"))


@pytest.fixture(params=["whole", "abstained", "bare"])
def objects(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    algorithm: Algorithm,
    answer: Prediction,
    picture: np.ndarray,
) -> tuple[Path, Path]:
    """A report and a heat map: of a full header and of one with next to nothing."""
    source = radiograph(**dict.fromkeys(BARE if request.param == "bare" else ()))
    given = replace(answer, abstain=request.param == "abstained")
    report, heat = tmp_path / "report.dcm", tmp_path / "heat.dcm"
    report.write_bytes(encoded(make_report(source, given, algorithm)))
    heat.write_bytes(encoded(make_heat_map(source, given, algorithm, picture)))
    return report, heat


def said(program: str, package: str, *arguments: str | Path) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} isn't installed; Debian's package is {package}")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_dsrdump_shows_the_report(objects: tuple[Path, Path]) -> None:
    shown = said("dsrdump", "dcmtk", objects[0])
    assert "Comprehensive 3D SR Document" in shown
    assert '"Not for diagnosis' in shown or "The model abstained" in shown
    assert '"Probability of COVID-19")="0.712346"' in shown
    assert not [line for line in shown.splitlines() if line.startswith(("E:", "F:"))]


def test_dciodvfy_finds_no_error(objects: tuple[Path, Path]) -> None:
    for file in objects:
        shown = said("dciodvfy", "dicom3tools", "-new", file)
        assert "Comprehensive3DSR" in shown or "SCImage" in shown
        assert not [line for line in shown.splitlines() if line.startswith("Error")], shown


def _errors(dataset: Dataset) -> list[str]:
    pytest.importorskip("dicom_validator", reason="dicom-validator isn't installed")
    from dicom_validator.validator.error_handler import NullValidationResultHandler
    from dicom_validator.validator.iod_validator import IODValidator

    from tests.serving.dicom_results.standard_tables import TABLES, standard_tables

    if not TABLES.is_dir():
        pytest.skip(f"this highdicom brings no tables: there is no {TABLES}")
    handler = NullValidationResultHandler()
    result = IODValidator(dataset, standard_tables(), error_handler=handler).validate()
    found = [
        f"{module}: {tag} {error.code}"
        for module, errors in (result.module_errors or {}).items()
        for tag, error in errors.items()
    ]
    assert len(found) == result.errors
    return found


def test_dicom_validator_finds_no_error_by_the_modules_tables(objects: tuple[Path, Path]) -> None:
    for file in objects:
        assert _errors(dcmread(file)) == []


def test_dicom_validator_finds_what_was_taken_away(objects: tuple[Path, Path]) -> None:
    report, heat = map(dcmread, objects)
    del report.VerificationFlag
    measured = next(item for item in _items(report) if item.ValueType == "NUM")
    del measured.MeasuredValueSequence
    del heat.ConversionType
    assert sorted(line.split(":")[0] for line in _errors(report)) == [
        "sr-document-content",
        "sr-document-general",
    ]
    assert [line.split(":")[0] for line in _errors(heat)] == ["sc-equipment"]


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def test_dicom_validator_finds_no_error(
    objects: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    editions = [part.parents[1].name for part in STANDARD.glob("*/docbook/part03.xml")]
    if not editions:
        pytest.skip(f"{STANDARD} holds no edition of the standard; `validate_iods FILE` loads one")
    from dicom_validator.validate_iods import main

    for file in objects:
        errors = main(["--standard-path", str(STANDARD), "--edition", max(editions), str(file)])
        assert errors == 0, capsys.readouterr().out
