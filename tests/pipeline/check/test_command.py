"""`cxr check`: what a run would read, said before it, by RadiographExampleGen's own rules.

That it takes no TFX is shown in tests/pipeline/test_quick_import.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.radiograph_example_gen import selection
from components.radiograph_example_gen.informing import informed
from components.radiograph_example_gen.matching import Matched
from pipeline import cli
from pipeline.check.data import check_data
from pipeline.check.images import inspect_images
from pipeline.config.pipeline_config import load_config

Check = Callable[..., tuple[int, str]]
FOLDERS = ("COVID-19", "Normal", "Viral Pneumonia")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Arguments -> exit code, and what is printed."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cxr", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out + printed.err

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve images a class, of nine patients each; every class from a scanner of its own."""
    rows = []
    for label, folder in enumerate(FOLDERS):
        (tmp_path / folder).mkdir()
        for number in range(12):
            _save(tmp_path / folder / f"{number}.png", 100 * label + number)
            patient = number if number >= 6 else f"pair {number // 2}"
            rows.append((f"{folder}/{number}.png", f"p{label}-{patient}", f"scanner {label}"))
    _table(tmp_path, rows)
    return tmp_path


def _save(path: Path, seed: int, shape: tuple[int, int] = (48, 48), most: int = 256) -> None:
    grey = np.random.default_rng(seed).integers(0, most, shape, dtype=np.uint8)
    Image.fromarray(grey).save(path)


def _table(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    lines = ["file,Patient ID,Scanner", *(",".join(row) for row in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines))


def _json(check: Check, *arguments: object) -> dict[str, Any]:
    code, printed = check(*arguments, "--json")
    found: dict[str, Any] = json.loads(printed)
    assert code == (2 if found["problems"] else 0)
    return found


def test_headers_are_joined_with_the_rows_once(
    check: Check, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = []

    def counted(*arguments: Any) -> Matched:
        joined.append(arguments)
        return informed(*arguments)

    monkeypatch.setattr(selection, "informed", counted)
    assert _json(check, "--data", data)["problems"] == []
    assert len(joined) == 1


def test_what_a_run_would_read(check: Check, data: Path) -> None:
    found = _json(check, "--data", data)
    assert found["problems"] == []
    assert found["classes"]["Normal"] == {"found": 12, "usable": 12}
    assert found["patients"] == {"known": 27, "images_without": 0}
    assert found["sizes"] == {"48×48": 36}
    assert found["bit_depths"] == {"8": 36}
    assert found["deviations"] == []
    assert {split: sum(counts.values()) for split, counts in found["split"].items()} == {
        "train": 21, "eval": 9, "test": 6,
    }  # fmt: skip
    code, printed = check("--data", data)
    assert code == 0
    assert "Patients known: 27; images without one: 0." in printed
    assert "A run would go through to the split." in printed


def test_it_is_the_split_that_a_run_makes(data: Path) -> None:
    config = load_config(overrides={"data": {"dir": data}, "seed": 5})
    _save(data / "Normal" / "tiny.png", 1, (8, 8))
    found = check_data(config)
    from components.radiograph_example_gen.selection import summarize

    pool = inspect_images(config)
    summary = summarize(pool.settings, pool.decision(5))
    assert found["digest"] == summary.digest
    assert found["left_out"] == {"bad": 1}
    assert [(item["path"], item["kind"]) for item in found["files"]] == [("Normal/tiny.png", "bad")]


def test_what_is_suspicious(check: Check, data: Path) -> None:
    _save(data / "Normal" / "0.png", 1, most=4)
    _save(data / "COVID-19" / "0.png", 2, (48, 200))
    (data / "Lung_Opacity").mkdir()
    _save(data / "Lung_Opacity" / "0.png", 3)
    said = "\n".join(remark["sentence"] for remark in _json(check, "--data", data)["remarks"])
    assert "1 image is ('Normal/0.png') nearly black" in said
    assert "1 image is ('COVID-19/0.png') of an odd size or shape" in said
    assert "all 12 images with scanner 'scanner 1' are Normal" in said
    assert '{name: "Lung_Opacity", folders: ["Lung_Opacity"]}' in said


def test_one_patient_too_many(check: Check, data: Path) -> None:
    rows = [
        (f"{folder}/{number}.png", "0815" if number < 6 else f"{folder}-{number}", "x")
        for folder in FOLDERS
        for number in range(12)
    ]
    _table(data, rows)
    said = "\n".join(remark["sentence"] for remark in _json(check, "--data", data)["remarks"])
    assert "patient '0815' has 18 of 36 images: is it a word for 'unknown'?" in said


def test_a_table_of_other_images_is_a_problem(check: Check, data: Path) -> None:
    _table(data, [(f"elsewhere/{number}x.png", "p", "s") for number in range(9)])
    found = _json(check, "--data", data)
    assert "9 of 9 rows go by no image, and 36 of 36 images have no row" in found["problems"][0]
    code, printed = check("--data", data)
    assert code == 2
    assert "A run would stop: " in printed


def test_cells_that_the_schema_does_not_know_are_a_problem(check: Check, data: Path) -> None:
    """SchemaGate would stop the run, long after the images were read."""
    rows = [
        f"{folder}/{number}.png,{folder}-{number},F,1955,{'PA' if number % 2 else 'lateral'}"
        for folder in FOLDERS
        for number in range(12)
    ]
    (data / "metadata.csv").write_text("\n".join(["file,patient_id,sex,age,view", *rows]))
    found = _json(check, "--data", data)
    assert found["problems"] == [
        "view: 18 images with 'lateral'; the schema has 'AP', 'AP Erect', 'AP Supine', 'PA', "
        "'unknown' alone, and SchemaGate "
        "stops at anything else. Change these cells, or the schema (schema_dir).",
        "age: 36 images with 1955; the schema has 0 to 120 alone, and SchemaGate stops at anything "
        "else. Change these cells, or the schema (schema_dir).",
    ]
    assert found["split"]


def test_ids_and_images_that_look_alike_are_named(check: Check, data: Path) -> None:
    rows = [
        (f"{folder}/{number}.png", f"{folder}-{number // 2}{'.0' * (number % 2)}", "x")
        for folder in ("1", "2", "3")
        for number in range(12)
    ]
    ids = [(f"{FOLDERS[int(file[0]) - 1]}{file[1:]}", p.replace("-", ""), x) for file, p, x in rows]
    _table(data, ids)
    Image.open(data / "Normal" / "0.png").save(data / "COVID-19" / "0.png", compress_level=1)
    found = _json(check, "--data", data)
    said = "\n".join(remark["sentence"] for remark in found["remarks"])
    assert "36 ids of patients look alike ('10' and '10.0', '11' and '11.0'," in said
    assert "2 images have the very grey levels of another one" in said
    assert "('COVID-19/0.png' and 'Normal/0.png')" in said


def test_a_copy_that_is_not_used_has_no_say(check: Check, data: Path) -> None:
    """Its patient is the first's: nobody is unknown."""
    (data / "Normal" / "copy.png").write_bytes((data / "Normal" / "0.png").read_bytes())
    found = _json(check, "--data", data)
    assert found["left_out"] == {"duplicate": 1}
    assert not [remark for remark in found["remarks"] if remark["topic"] == "patients"]


def test_too_few_images_for_a_split_are_a_problem(check: Check, data: Path) -> None:
    for number in range(4, 12):
        (data / "Normal" / f"{number}.png").unlink()
    (data / "metadata.csv").unlink()
    found = _json(check, "--data", data)
    assert "Normal" in found["problems"][0]
    assert found["classes"]["Normal"] == {"found": 4, "usable": 4}
