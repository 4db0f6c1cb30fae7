"""`cxr predict --table`: which row is whose, and what of it is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import InputError
from models.table_values import parse_number
from schema.table import TableColumn
from serving.table_rows import Table, columns_of_signature, read_table
from tests.dicoms import dataset, encoded, phantom

CRP = TableColumn("crp", "crp_val", "numeric", unit="mg/l", low=0, high=600)
SEX = TableColumn("sex", "Patient Sex", "categorical")
AGE = TableColumn("years", "age", "numeric")
COLUMNS = (CRP, SEX, AGE)


def _read(tmp_path: Path, text: str) -> Table:
    (tmp_path / "rows.csv").write_text(text)
    return read_table(tmp_path / "rows.csv", COLUMNS, "joint")


def test_a_row_is_found_by_the_path_or_by_its_end(tmp_path: Path) -> None:
    table = _read(tmp_path, "file,crp_val,sex\na.png,12.5,F\nsub/b.png,inf,\nother.png,3,M\n")
    assert table.cells_of(Path("/data/x/a.png"), b"") == {"crp": 12.5, "sex": "F"}
    assert table.cells_of(Path("x/sub/b.png"), b"") == {"crp": math.inf}
    files = [Path("x/a.png"), Path("b.png")]
    assert table.without_row(files) == [Path("b.png")]
    assert table.without_file(files) == ["sub/b.png", "other.png"]


def test_values_of_a_signature_are_one_a_row(tmp_path: Path) -> None:
    table = _read(tmp_path, "image;CRP;patient_sex\na.png;0,5;\nb.png;;male\n")
    cells = [table.cells_of(Path(name), b"") for name in ("a.png", "b.png", "c.png")]
    found = table.as_tensors(cells)
    np.testing.assert_equal(found["crp"], [0.5, math.nan, math.nan])
    assert found["sex"] == [b"", b"M", b""]
    np.testing.assert_equal(found["years"], [math.nan] * 3)


def test_a_dicoms_header_fills_in_where_the_table_has_no_cell(tmp_path: Path) -> None:
    content = encoded(dataset(phantom(), PatientSex="F", PatientAge="045Y"))
    table = _read(tmp_path, "file,sex\na.dcm,M\nb.dcm,\n")
    assert table.cells_of(Path("a.dcm"), content) == {"sex": "M", "years": 45.0}
    assert table.cells_of(Path("b.dcm"), content) == {"sex": "F", "years": 45.0}
    alone = read_table(None, (CRP, SEX), "joint")
    assert alone.cells_of(Path("c.dcm"), content) == {"sex": "F"}
    assert alone.cells_of(Path("c.png"), b"no DICOM") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,crp_val\na.png,high\n", r"line 2: crp_val 'high' is no number"),
        ("file,crp_val\na.png,<5\n", r"line 2: crp_val '<5' is no number: beyond .* write -inf"),
        ("file,crp_val\na.png,812\n", r"line 2: crp_val 812 mg/l is above 600 mg/l"),
        ("file,crp_val\na.png,1\na.png,1\n", r"line 3: 'a.png' has a row before"),
        ("file,ldh\na.png,1\n", r"none of the columns of joint, which are crp, sex, years"),
        ("name,crp_val\na.png,1\n", r"no column 'file'"),
        ("", r"no column 'file' with the images' names; it has none"),
        ('file,crp_val\n"a.png,1\n', r"no CSV"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read(tmp_path, text)


def test_a_model_of_images_alone_takes_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="champion takes no columns of a table"):
        read_table(tmp_path / "rows.csv", (), "champion")


def test_columns_by_the_signature_alone() -> None:
    inputs = {
        "image_bytes": {"dtype": "DT_STRING"},
        "crp": {"dtype": "DT_FLOAT"},
        "sex": {"dtype": "DT_STRING"},
    }
    found = [(each.name, each.kind) for each in columns_of_signature(inputs)]
    assert found == [("crp", "numeric"), ("sex", "categorical")]


@given(st.floats(width=32, allow_nan=False))
@example(3.4028234663852886e38)
def test_any_number_reads_back_as_it_was_written(value: float) -> None:
    assert parse_number(repr(value)) == value
    assert parse_number(f"{value:.6e}".replace(".", ",")) == float(f"{value:.6e}")


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_none(text: str) -> None:
    found = parse_number(text)
    assert found is None or (isinstance(found, float) and not math.isnan(found))


@pytest.mark.parametrize(
    "cell", ["", "1,234", "12,345,678", "1e400", "1e39", "0x1", "1_0", "\u0661"]
)
def test_what_is_no_number_or_has_two_meanings(cell: str) -> None:
    assert parse_number(cell) is None


@pytest.mark.parametrize(
    ("cell", "number"),
    [("0,123", 0.123), ("12,5", 12.5), (".5", 0.5), ("-3", -3.0), ("−3", -3.0), ("5.", 5.0),
     ("1234,5", 1234.5), ("Inf", math.inf), ("-infinity", -math.inf), ("+2", 2.0)],
)  # fmt: skip
def test_numbers_as_people_write_them(cell: str, number: float) -> None:
    assert parse_number(cell) == number
