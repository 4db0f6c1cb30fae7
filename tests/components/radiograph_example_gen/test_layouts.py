"""The layouts that people download, in small copies: what is read and said, and the recipes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from PIL import Image

from common.errors import InputError
from components.radiograph_example_gen.columns import KNOWN_NAMES
from components.radiograph_example_gen.discovery import discover
from components.radiograph_example_gen.remarks import of_names, of_tables
from components.radiograph_example_gen.settings import ClassFolders
from models.table_values import UNKNOWN_VALUES
from pipeline.check.data import check_data
from pipeline.config.pipeline_config import load_config
from schema import contract
from tests.components.radiograph_example_gen.conftest import MakePng

DOCS: Final = Path(__file__).parents[3] / "docs" / "data.md"
RADIOGRAPHY: Final = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
FRONTAL: Final = ("PA", "AP", "AP Supine", "AP Erect")
FINDINGS: Final = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,view,modality,date,"
    "location,folder,filename,doi,url,license,clinical_notes,other_notes"
)


def _section(title: str) -> str:
    text = DOCS.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^##+ {re.escape(title)}.*?\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    return str(found)


def _blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _section(title), re.M | re.S)


def _check(folder: Path, **data: Any) -> Mapping[str, Any]:
    return check_data(load_config(overrides={"data": {"dir": folder, **data}}))


def _remarks(found: Mapping[str, Any]) -> str:
    return "\n".join(remark["sentence"] for remark in found["remarks"])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _jpeg(png: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def radiography(tmp_path: Path, make_png: MakePng) -> Path:
    """COVID-19 Radiography Database: six images and masks a class, tables, a text."""
    root = tmp_path / "COVID-19_Radiography_Dataset"
    for place, name in enumerate(RADIOGRAPHY):
        for number in range(1, 7):
            _write(root / name / "images" / f"{name}-{number}.png", make_png(100 * place + number))
            _write(root / name / "masks" / f"{name}-{number}.png", make_png(9_000 + number))
        _write(root / f"{name}.metadata.xlsx", b"PK\x03\x04")
    _write(root / "README.md.txt", b"COVID-19 RADIOGRAPHY DATABASE")
    return root


def test_radiography_database_runs_as_it_is(radiography: Path) -> None:
    found = _check(radiography)
    assert found["problems"] == []
    assert {name: row["usable"] for name, row in found["classes"].items()} == {
        "COVID-19": 6, "Normal": 6, "Viral Pneumonia": 6,
    }  # fmt: skip
    remarks = _remarks(found)
    assert '{name: "Lung_Opacity", folders: ["Lung_Opacity"]}' in remarks
    assert (
        "COVID.metadata.xlsx, Lung_Opacity.metadata.xlsx, Normal.metadata.xlsx and 1 more are"
        in (remarks)
    )
    assert "save them as one CSV in UTF-8 and give it as data.metadata" in remarks
    assert "patients unknown" in remarks


def test_radiography_database_with_all_four_classes_and_its_tables(radiography: Path) -> None:
    (text,) = _blocks("COVID-19 Radiography Database", "yaml")
    classes = yaml.safe_load(text)["data"]["classes"]
    table = radiography / "table.csv"
    rows = [
        # As in the tables: the names of some classes are in capitals there.
        f"{name.upper() if name == 'Normal' else name}-{number},PNG,256*256,https://host/{number}"
        for name in RADIOGRAPHY
        for number in range(1, 7)
    ]
    table.write_text("\n".join(["FILE NAME,FORMAT,SIZE,URL", *rows]), encoding="utf-8")
    found = _check(radiography, classes=classes, metadata=table)
    assert found["problems"] == []
    assert [row["usable"] for row in found["classes"].values()] == [6] * 4
    remarks = _remarks(found)
    assert "24 of 24 rows found their image without its extension" in remarks
    assert "table.csv are" not in remarks and "table.csv is" not in remarks
    assert "go by no image" not in remarks


@pytest.fixture
def kermany(tmp_path: Path, make_png: MakePng) -> Path:
    """Kermany's: JPEGs below train, test and val, and what a Mac left."""
    root = tmp_path / "chest_xray"
    for part, each in (("train", 6), ("test", 2), ("val", 1)):
        for number in range(each):
            ill = f"person{1 + number // 2}_bacteria_{number}.jpeg"
            content = _jpeg(make_png(len(part) * 1000 + number))
            _write(root / part / "PNEUMONIA" / ill, content)
            content = _jpeg(make_png(len(part) * 1000 + 500 + number))
            _write(root / part / "NORMAL" / f"IM-{number:04d}-0001.jpeg", content)
    _write(root / "__MACOSX" / "train" / "NORMAL" / "._IM-0001-0001.jpeg", b"")
    return root


def test_kermanys_folder_of_parts_says_where_the_classes_are(kermany: Path) -> None:
    (problem,) = _check(kermany)["problems"]
    assert "lie one level below" in problem
    assert "train: NORMAL (6), PNEUMONIA (6)" in problem and "val: NORMAL (1)" in problem
    assert f"give {str(kermany / 'train')!r} as data.dir" in problem
    assert '[{name: "NORMAL", folders: ["NORMAL"]}, {name: "PNEUMONIA"' in problem
    assert "MACOSX" not in problem


def test_kermanys_jpegs_run_as_they_are(kermany: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = _blocks("Kermany's chest X-rays", "yaml")
    data = yaml.safe_load(text)["data"]
    monkeypatch.chdir(kermany.parent)
    found = check_data(load_config(overrides={"data": data}))
    assert found["problems"] == []
    assert {name: row["usable"] for name, row in found["classes"].items()} == {
        "NORMAL": 6, "PNEUMONIA": 6,
    }  # fmt: skip
    remarks = _remarks(found)
    assert "patients unknown" in remarks
    assert "the names of 6 of 12 images without a patient look as if they named one" in remarks
    tabulate, _ = _blocks("Kermany's chest X-rays", "python")
    exec(tabulate, {})
    found = check_data(load_config(overrides={"data": data}))
    assert found["problems"] == []
    assert found["patients"] == {"known": 3, "images_without": 6}
    assert "look as if" not in _remarks(found)


def test_kermanys_three_parts_by_a_table(kermany: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = _blocks("Kermany's chest X-rays", "yaml")
    _, tabulate = _blocks("Kermany's chest X-rays", "python")
    monkeypatch.chdir(kermany.parent)
    exec(tabulate, {})
    found = check_data(load_config(overrides=yaml.safe_load(text)))
    assert found["problems"] == []
    assert {name: row["usable"] for name, row in found["classes"].items()} == {
        "NORMAL": 9, "PNEUMONIA": 9,
    }  # fmt: skip
    assert found["patients"] == {"known": 3, "images_without": 9}
    assert found["left_out"] == {}


@pytest.fixture
def chestxray(tmp_path: Path, make_png: MakePng) -> Path:
    """covid-chestxray-dataset: one folder, and a table of more than two findings."""
    root = tmp_path / "covid-chestxray-dataset"
    lines = [FINDINGS]
    for number in range(28):
        finding = ("Pneumonia/Viral/COVID-19", "No Finding", "Tuberculosis", "todo")[number % 4]
        view = "L" if number >= 24 else FRONTAL[number // 6]
        name = f"auntminnie-{number}.png"
        _write(root / "images" / name, make_png(number))
        lines.append(
            f"{2 + number // 2},0,{'MF'[number % 2]},{20 + number},{finding},,,N,{view},X-ray,"
            f'2020,"Hospital, Wuhan",images,{name},,,CC BY-NC-SA,"one, two",'
        )
    (root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_chestxrays_one_folder_says_what_to_do(chestxray: Path) -> None:
    (problem,) = _check(chestxray)["problems"]
    assert "Images there: 'images' with 28." in problem
    assert (
        "metadata.csv has a column 'finding': to take the classes from it, set data.layout: table, "
        'data.columns: {label: "finding"}'
    ) in problem
    assert "docs/data.md" in problem and "If these are the classes" not in problem


def test_chestxrays_table_says_the_classes(
    chestxray: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chestxray.parent)
    (text,) = _blocks("covid-chestxray-dataset", "yaml")
    with (chestxray / "metadata.csv").open("a", encoding="utf-8") as file:
        # A slice of CT, which few download.
        file.write("99,0,M,50,Pneumonia/Viral/COVID-19,,,N,Axial,CT,2020,W,volumes,a.nii.gz,,,,,\n")
    found = check_data(load_config(overrides=yaml.safe_load(text)))
    assert found["problems"] == []
    assert {name: row["usable"] for name, row in found["classes"].items()} == {
        "COVID-19": 6, "Normal": 6,
    }  # fmt: skip
    # Of each two rows with one id, one shows COVID-19 and the other nothing.
    assert found["patients"] == {"known": 6, "images_without": 0}
    # Of 28 images, half are of two other findings, and two more are lateral.
    assert found["left_out"] == {"label of no class": 14, "view that is not taken": 3}
    remarks = _remarks(found)
    assert "the column 'finding' says the class of each image" in remarks
    assert "14 of 29 rows have a label of no class, and are left out: 'Tuberculosis' (7)" in remarks
    assert "3 of 29 rows are of views that data.views doesn't take, and are left out" in remarks
    assert "go by no image" not in remarks


@pytest.fixture
def covidx(tmp_path: Path, make_png: MakePng) -> Path:
    """COVIDx: two folders without classes, and a list for each."""
    root = tmp_path / "COVIDx"
    for part, each in (("train", 8), ("test", 4)):
        lines = []
        for number in range(each):
            name = f"{part} {number}.png" if number == 1 else f"{part}-{number}.png"
            label = "positive" if number % 2 else "negative"
            _write(root / part / name, make_png(len(part) * 100 + number))
            lines.append(f"{part}{number // 4} {name} {label} cohen")
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_covidx_lists_are_seen(covidx: Path) -> None:
    (problem,) = _check(covidx)["problems"]
    assert "Images there: 'test' with 4, 'train' with 8." in problem
    assert "train.txt looks like a list of images and their classes" in problem
    assert "If these are the classes" not in problem


def test_covidx_recipe_sorts_by_its_lists(covidx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(covidx.parent)
    (recipe,) = _blocks("COVIDx", "python")
    exec(recipe, {})
    classes = [{"name": name, "folders": [name]} for name in ("negative", "positive")]
    found = _check(Path("sorted"), classes=classes)
    assert found["problems"] == []
    assert [row["usable"] for row in found["classes"].values()] == [6, 6]
    assert found["patients"] == {"known": 3, "images_without": 0}
    assert _remarks(found).endswith(": no column says sex, age_group, view, age of the images")


def test_folders_of_other_classes_are_proposed(tmp_path: Path) -> None:
    for name in ("TB", "Ödem", "masks"):
        _write(tmp_path / name / "1.png", b"")
    with pytest.raises(InputError, match=r"If these are the classes") as caught:
        discover(tmp_path, [ClassFolders("COVID-19", ("COVID",))])
    assert '[{name: "TB", folders: ["TB"]}, {name: "Ödem", folders: ["Ödem"]}]' in str(caught.value)
    assert "masks" not in str(caught.value)


def test_a_folder_without_images_says_no_more_than_before(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\n")
    with pytest.raises(InputError) as caught:
        discover(tmp_path, [ClassFolders("COVID-19", ("COVID",))])
    assert str(caught.value).endswith("correct the folders of the class in data.classes.")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b'a,"b\n', b"x" * 100_000])
def test_tables_that_cant_be_read_hide_no_message(tmp_path: Path, content: bytes) -> None:
    _write(tmp_path / "images" / "1.png", b"")
    for name in ("metadata.csv", "list.txt"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="Images there: 'images' with 1"):
        discover(tmp_path, [ClassFolders("COVID-19", ("COVID",))])


def test_names_that_name_nobody() -> None:
    def said(*paths: str) -> list[str]:
        return [remark.sentence for remark in of_names(paths, [None] * len(paths))]

    assert said("a/person1_1.png", "a/person2_1.png", "a/person3_1.png") == []
    assert said("a/COVID-1.png", "a/COVID-2.png", "a/1.png", "outpatient/2.png") == []
    assert said(*[f"a/{number}.png" for number in range(100)], "a/pat1.png", "a/pat1-b.png") == []
    assert "'patient 007' is in 2" in said("a/Patient 007.png", "patient 007/b.png", "a/1.png")[0]


def test_the_table_that_is_read_is_not_among_those_that_are_not() -> None:
    assert not list(of_tables(["metadata.csv"], ["metadata.csv"]))
    (remark,) = of_tables(["metadata.csv", "a.xlsx"], ["metadata.csv"])
    assert remark.sentence.startswith("a.xlsx is a table in the data folder that is not read")


def _codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_docs_hold_the_columns_and_words_of_the_code() -> None:
    section = _section("Columns and their names")
    rows: list[list[str]] = [
        row.split("|")[1:-1] for row in section.splitlines() if row[:3] == "| `"
    ]
    assert {_codes(ours)[0]: tuple(_codes(others)) for ours, others in rows} == KNOWN_NAMES
    words = _codes(section.split('These cells mean "unknown"')[1])
    assert {*words, ""} == UNKNOWN_VALUES
    assert contract.UNKNOWN in words
