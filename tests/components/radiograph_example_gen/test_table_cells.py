"""Columns that models take, from the table to the examples, their statistics and the schema."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from common.errors import InputError
from components.curated_schema_gen import CuratedSchemaGen
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from components.radiograph_example_gen.metadata import parse_metadata
from components.radiograph_example_gen.settings import Layout
from pipeline.check.data import check_data
from pipeline.config.pipeline_config import load_config
from pipeline.dag.data import statistics_options
from schema import SCHEMA_DIR, SCHEMA_FILE, contract
from schema.table import TableColumn

CRP = TableColumn("crp", "crp_val", "numeric", unit="mg/l", low=0, high=600)
SEX = TableColumn("sex", "sex", "categorical")
NOTES = TableColumn("notes", "Clinical Notes", "text")
AGE = TableColumn("years", "age", "numeric")
COLUMNS = (CRP, SEX, NOTES, AGE)
HEADER = "file,CRP_val,sex,clinical_notes,age"


def _features(run: Any) -> dict[str, Any]:
    found = {}
    for split in contract.SPLITS:
        files = sorted(map(str, Path(run.examples.uri, f"Split-{split}").iterdir()))
        for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            found[features[contract.PATH].bytes_list.value[0].decode()] = features
    return found


def test_examples_hold_what_there_is_and_nothing_for_what_is_missing(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    rows = [
        ("Normal/0.png", "12.5", "F", "fever", "41Y"),
        ("Normal/1.png", "-inf", "", "n/a", ""),
        ("Normal/2.png", "12 mg", "M", "", "old"),
    ]
    tree.metadata(rows, HEADER)
    run = run_executor(tree.root, table=COLUMNS)
    found = _features(run)
    of_table = {
        path: {name for name in features if name.startswith(("table/", "table_finite/"))}
        for path, features in found.items()
    }
    first = found["Normal/0.png"]
    assert of_table["Normal/0.png"] == {
        *("table/crp", "table_finite/crp", "table/sex", "table/notes"),
        *("table/years", "table_finite/years"),
    }
    assert first["table/crp"].float_list.value == [12.5]
    assert first["table/years"].float_list.value == [41]
    assert first["table/notes"].bytes_list.value == [b"fever"]
    assert of_table["Normal/1.png"] == {"table/crp"}
    assert found["Normal/1.png"]["table/crp"].float_list.value == [-math.inf]
    assert of_table["Normal/2.png"] == {"table/sex"}
    assert of_table["Normal/3.png"] == set()
    slices = {
        path: features["table_slice/sex"].bytes_list.value[0] for path, features in found.items()
    }
    assert [slices[f"Normal/{n}.png"] for n in range(2)] != [b"missing", b"missing"]
    assert slices["Normal/1.png"] == slices["Normal/3.png"] == b"missing"
    reasons = [
        item.reason for item in read_left_out(run.manifest.uri) if item.path == "Normal/2.png"
    ]
    assert "line 4: crp_val '12 mg' is no number; treated as missing" in reasons


def test_a_run_without_columns_is_as_before(tree: Any, run_executor: Callable[..., Any]) -> None:
    tree.metadata([("Normal/0.png", "12.5", "F", "fever", "41")], HEADER)
    plain, other = run_executor(tree.root), run_executor(tree.root, table=COLUMNS)
    lines = [read_manifest(run.manifest.uri) for run in (plain, other)]
    assert lines[0] == lines[1], "the split is the same, whatever models take"
    names = {name for features in _features(plain).values() for name in features}
    assert not any(name.startswith("table") for name in names)


def test_a_constant_column_and_one_without_values_are_said(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    tree.metadata([(f"Normal/{n}.png", "5", "F", "", "") for n in range(8)], HEADER)
    run = run_executor(tree.root, table=COLUMNS)
    said = [remark["sentence"] for remark in read_summary(run.manifest.uri)["remarks"]]
    assert (
        "the feature crp is constant: 5.0 is its only value, and models learn nothing of it" in said
    )
    assert "the feature notes has no value in any image: models learn nothing of it" in said


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (TableColumn("x", "ldh", "numeric"), r"no column 'ldh' \(data\.features\.x\); it has file"),
        (TableColumn("x", "PID", "categorical"), "can't be a feature: it names the patient"),
    ],
)
def test_columns_that_are_not_there_or_can_be_none(column: TableColumn, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_metadata(b"file,pid\na.png,7\n", table=(column,))


def test_without_a_table_only_headers_can_know(tree: Any, run_executor: Callable[..., Any]) -> None:
    run_executor(tree.root, table=(SEX, AGE))
    with pytest.raises(InputError, match=r"data\.features\.crp needs the column 'crp_val'"):
        run_executor(tree.root, table=(CRP,))


@given(st.dictionaries(st.integers(0, 30), st.floats(0, 600, width=32), max_size=9))
def test_numbers_are_those_of_the_table_and_no_others(cells: dict[int, float]) -> None:
    lines = [f"{row}.png,{cells.get(row, '')!r}".replace("''", "") for row in range(31)]
    parsed = parse_metadata("\n".join(["file,crp_val", *lines]).encode(), table=(CRP,))
    found = {int(row.file.removesuffix(".png")): row.table for row in parsed.rows}
    assert {row: values["crp"] for row, values in found.items() if values} == cells
    assert parsed.problems == ()


def test_two_rows_that_say_other_values_contradict_each_other(tree: Any) -> None:
    rows = parse_metadata(b"file,crp_val\na.png,1\na.png,2\na.png,1.0\n", table=(CRP,)).rows
    assert not rows[0].agrees_with(rows[1]) and rows[0].agrees_with(rows[2])


def test_statistics_and_schema_see_them_and_a_value_beyond_is_an_anomaly_that_is_named(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    rows = [(f"Normal/{n}.png", f"{n}", "F", "secret words", f"{n}") for n in range(6)]
    rows += [("Normal/6.png", "812", "", "", ""), ("Normal/7.png", "inf", "", "", "")]
    tree.metadata(rows, HEADER)
    run = run_executor(tree.root, table=COLUMNS)
    items = [item for item in read_left_out(run.manifest.uri) if item.path == "Normal/6.png"]
    assert [item.reason for item in items] == [
        "line 8: crp_val 812 mg/l is above 600 mg/l: a wrong cell, or another unit "
        "(data.features.crp); SchemaGate stops at it"
    ]
    text = CuratedSchemaGen(SCHEMA_DIR / SCHEMA_FILE, COLUMNS).exec_properties["schema_text"]
    schema = text_format.Parse(text, schema_pb2.Schema())
    known = {feature.name: feature for feature in schema.feature}
    assert (known["table/crp"].float_domain.min, known["table/crp"].float_domain.max) == (0, 600)
    assert list(known["table/crp"].annotation.comment) == [
        "column 'crp_val' of the table",
        "unit: mg/l",
    ]
    anomalies = set()
    for split in contract.SPLITS:
        files = [str(file) for file in Path(run.examples.uri, f"Split-{split}").iterdir()]
        records = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
        statistics = stats_impl.generate_statistics_in_memory(
            ExamplesToRecordBatchDecoder().DecodeBatch(list(records)), statistics_options(COLUMNS)
        )
        assert b"secret" not in statistics.SerializeToString(), "texts stay out of the statistics"
        names = {".".join(each.path.step) for each in statistics.datasets[0].features}
        assert not {"table/notes", "table/crp"} & names
        found = tfdv.validate_statistics(statistics, schema).anomaly_info
        anomalies |= {name.strip("'") for name in found if "table" in name}
    # The split of the one image alone, and nothing about the infinity.
    assert anomalies == {"table_finite/crp"}


def test_check_names_row_and_column_before_any_run(tree: Any) -> None:
    tree.metadata([("Normal/0.png", "812", "F", "", ""), ("Normal/1.png", "3", "", "", "")], HEADER)
    feature = {"column": "crp_val", "kind": "numeric", "unit": "mg/l", "low": 0, "high": 600}
    config = load_config(
        overrides={
            "data": {
                "dir": tree.root,
                "features": {"crp": feature},
                "max_unmatched_fraction": 1.0,
            }
        }
    )
    found = check_data(config)
    (problem,) = found["problems"]
    assert problem.startswith(
        "data.features.crp: Normal/0.png, line 2: crp_val 812 mg/l is above 600 mg/l"
    )
    assert found["digest"]


def test_the_label_from_any_column_its_empty_cells_and_any_others(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    paths = [f"{folder}/{n}.png" for folder in ("COVID-19", "Normal") for n in range(8)]
    cells = ["", "-3.5", "NA", "7"] * 4
    tree.metadata(list(zip(paths, cells, strict=True)), "file,icu_day")
    run = run_executor(
        tree.root,
        classes=[
            {"name": "Ward", "folders": [], "labels": [""]},
            {"name": "ICU", "folders": [], "labels": ["*"]},
        ],
        layout=Layout("table", {"label": "icu_day"}),
    )
    said = {entry.file: entry.class_name for entry in read_manifest(run.manifest.uri)}
    assert said == {
        path: "Ward" if cell in ("", "NA") else "ICU"
        for path, cell in zip(paths, cells, strict=True)
    }
