"""What a look at the data could not find out is said, and nothing else."""

from __future__ import annotations

from components.radiograph_example_gen.columns import recognise
from components.radiograph_example_gen.discovery import FOLDER_NOT_READ, Kind, LeftOut
from components.radiograph_example_gen.metadata import Row, parse_metadata
from components.radiograph_example_gen.remarks import (
    PATIENTS_UNKNOWN,
    of_ages,
    of_cells,
    of_classes,
    of_columns,
    of_files,
    of_folders,
    of_missing_columns,
    of_patients,
    of_short_rows,
    of_spellings,
    of_tables,
    of_unread_folders,
)


def _rows(*patients: str) -> list[Row]:
    return [Row(n, f"{n}.png", text={"patient_id": name}) for n, name in enumerate(patients, 2)]


def _said(remarks: object) -> list[str]:
    return [remark.sentence for remark in remarks]  # type: ignore[attr-defined]


def test_no_patient_at_all() -> None:
    assert _said(of_patients([None, *_rows("unknown")])) == [PATIENTS_UNKNOWN]
    assert _said(of_patients([])) == []


def test_some_patients_are_unknown() -> None:
    (said,) = _said(of_patients([*_rows("a", "b", "unknown"), None]))
    assert said.startswith("the patient of 2 of 4 images is unknown")


def test_everyone_is_known() -> None:
    """A dozen with five images each is nothing strange."""
    assert _said(of_patients(_rows(*[f"p{n // 5}" for n in range(60)]))) == []


def test_a_patient_with_an_unlikely_share_is_named() -> None:
    people = [f"p{n}" for n in range(36)]
    (said,) = _said(of_patients(_rows(*people, *["nicht bekannt"] * 24)))
    assert said == "patient 'nicht bekannt' has 24 of 60 images: is it a word for 'unknown'?"


def test_files_folders_and_ages() -> None:
    left_out = [
        *[LeftOut(f"A/{n}.jpg", Kind.UNREAD_IMAGE, "JPEG") for n in range(2)],
        LeftOut("A/IM0001", Kind.OTHER_FILE, "not a PNG by its name"),
        LeftOut("A/B", Kind.OTHER_FILE, FOLDER_NOT_READ),
    ]
    assert _said(of_files(left_out)) == [
        "A: 2 files: JPEG",
        "A: 1 file: not a PNG by its name ('IM0001')",
    ]
    assert _said(of_folders({"Lung_Opacity": 20})) == [
        "the folder 'Lung_Opacity' with 20 images belongs to no class; to take it, add to "
        'data.classes: {name: "Lung_Opacity", folders: ["Lung_Opacity"]}'
    ]
    old = Row(2, "a.png", numbers={"age": 80.0})
    assert _said(of_ages([old, None])) == ["the age of 1 of 2 images is unknown"]
    assert _said(of_ages([old])) == _said(of_ages([None])) == []


def test_images_where_none_is_read() -> None:
    assert _said(of_unread_folders({".": 2, "A/a": 3, "B/images (1)": 1})) == [
        "2 images lie directly in the data folder, and belong to no class: put them into a class's "
        "folder",
        "4 images lie in 2 folders in which none is read ('A/a' with 3, 'B/images (1)' with 1): "
        "only those directly in a class's folder, and in images/ there, are",
    ]
    assert _said(of_unread_folders({})) == []


def test_without_a_patient_every_column_that_is_not_read_is_named() -> None:
    header = ["file", "Fallnummer", "sex", "hn", "license"]
    (said,) = _said(of_columns("a.csv", recognise(header)))
    assert "these are not read: 'Fallnummer', 'hn'; call the one" in said
    many = recognise(["file", *(f"c{n}" for n in range(20))])
    assert "'c11' and 8 more; call" in _said(of_columns("a.csv", many))[0]
    assert _said(of_columns("a.csv", recognise([*header, "PatID"]))) == []
    assert _said(of_columns("a.csv", recognise(["file", "sex"]))) == []


def test_a_second_column_of_patients_is_named() -> None:
    """The first may be empty: without a word, nobody would look into the other."""
    (said,) = _said(of_columns("a.csv", recognise(["file", "Patient ID", "subject"])))
    assert said.startswith("a.csv: the column 'subject' looks like patients' ids but is not read")


def test_a_csv_of_another_name_need_not_be_saved_as_csv() -> None:
    (said,) = _said(of_tables(["list.CSV"], []))
    assert said.endswith(
        "not read; to have what is in it, give it as data.metadata, the one table that is read"
    )


def test_what_no_table_says() -> None:
    some = recognise(["file", "Gender", "Patient Age", "subject"])
    assert _said(of_missing_columns([("a.csv", some)])) == [
        "a.csv: no column says age_group, view, source of the images"
    ]
    more = recognise(["file", "view", "age_group"])
    assert _said(of_missing_columns([("a.csv", some), ("b.csv", more)])) == [
        "a.csv, b.csv: no column says source of the images"
    ]
    (alone,) = _said(of_missing_columns([]))
    assert alone.startswith("no table (metadata.csv) says sex, age_group, view, source, age of")
    (beside,) = _said(of_missing_columns([("a.csv", some)], {"view", "modality"}))
    assert beside == "a.csv: no column says age_group, source of the images"
    (headers,) = _said(of_missing_columns([], {"sex", "age", "age_group", "view"}))
    assert headers == "no table (metadata.csv) says source of the images"
    whole = recognise(["file", "sex", "age", "age_group", "view", "source"])
    assert _said(of_missing_columns([("a.csv", whole)])) == []


def test_cells_that_cannot_be_read_are_counted() -> None:
    problems = [LeftOut("x.png", Kind.METADATA, f"line {n}: age 'old' is no …") for n in (2, 3)]
    assert _said(of_cells("a.csv", problems)) == [
        "a.csv: 2 cells could not be read (line 2: age 'old' is no …; …; left_out.csv)"
    ]
    assert _said(of_cells("a.csv", [])) == []


def test_rows_with_too_few_cells() -> None:
    table = parse_metadata(b"file,sex,,\na.png,F,,\nb.png\nc.png,M\n")
    (said,) = _said(of_short_rows("a.csv", table.short, len(table.rows)))
    assert said.startswith(
        "a.csv: of 3 rows, 1 with fewer cells than the header has columns (line 3)"
    )
    assert _said(of_short_rows("a.csv", parse_metadata(b"file,sex\na.png,F\n").short, 1)) == []


def test_classes_that_the_table_passes_over() -> None:
    (row,) = _rows("p")
    assert _said(of_classes([("A", row), ("B", None), ("B", None)])) == [
        "B: none of its 2 images has a row in a table"
    ]
    assert _said(of_classes([("A", None), ("B", None)])) == []


def test_spellings_of_sex_are_counted() -> None:
    (said,) = _said(of_spellings("a.csv", {"f": 2, "Male": 3}))
    assert said == (
        "a.csv: 5 cells of sex in another spelling are read as F or M: 'Male' (3), 'f' (2)"
    )
    assert _said(of_spellings("a.csv", {})) == []
