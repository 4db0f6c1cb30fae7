"""By which further columns a run slices, and what is said where it can't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from pipeline.config.layers import merge
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.resolve.columns import resolve_columns

TABLE = "file,Sex,Scanner,licence,md5,empty,\n" + "".join(
    f"{n}.png,F,{'AB'[n % 2]},{'CC0' if n else ''},{n},,\n" for n in range(21)
)


def _config(folder: Path, columns: list[str] | None = None, **fields: Any) -> PipelineConfig:
    data: dict[str, Any] = {"dir": folder, "slice_columns": columns}
    return load_config(overrides=merge({"data": data}, fields))


def _resolved(config: PipelineConfig) -> tuple[str, ...] | None:
    return resolve_columns(config).data.slice_columns


def _slice(feature: str) -> dict[str, Any]:
    return {"slices": [{"feature": feature, "min_accuracy": 0.5}]}


def test_columns_with_few_values_are_taken_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(TABLE)
    # An empty cell is a value, too, and `empty` has no other.
    assert _resolved(_config(tmp_path)) == ("scanner", "licence")


@given(values=st.integers(0, 30))
def test_two_values_are_enough_and_twenty_not_too_many(
    values: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    lines = [f"{n}.png,{n % max(values, 1)}" for n in range(2 * values)]
    (folder / "metadata.csv").write_text("\n".join(["file,unit", *lines]))
    assert _resolved(_config(folder)) == (("unit",) if 2 <= values <= 20 else ())


def test_what_is_named_is_taken_however_many_values_it_has(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(TABLE)
    assert _resolved(_config(tmp_path, ["MD5", "empty"])) == ("md5", "empty")
    assert _resolved(_config(tmp_path, [])) == ()


def test_nothing_else_of_the_configuration_changes(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(TABLE)
    config = _config(tmp_path)
    resolved = resolve_columns(config)
    back = resolved.data.model_copy(update={"slice_columns": None})
    assert resolved.model_copy(update={"data": back}) == config


def test_the_metadata_may_lie_elsewhere(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    config = _config(tmp_path / "images", data={"metadata": table})
    assert _resolved(config) == ("scanner", "licence")


def test_without_metadata_there_are_none(tmp_path: Path) -> None:
    assert _resolved(_config(tmp_path)) == ()
    with pytest.raises(InputError, match=r"data\.slice_columns names 'unit', but there is no"):
        resolve_columns(_config(tmp_path, ["unit"]))


def test_a_named_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(TABLE)
    with pytest.raises(InputError) as caught:
        resolve_columns(_config(tmp_path, ["licence", "scaner"]))
    assert str(caught.value) == (
        f"{tmp_path / 'metadata.csv'} has no column 'scaner' (data.slice_columns); it has file, "
        "sex, scanner, licence, md5, empty."
    )


@pytest.mark.parametrize("columns", [None, [], ["unit"]])
def test_a_malformed_file_reads_as_it_does_in_the_pipeline(
    tmp_path: Path, columns: list[str] | None
) -> None:
    (tmp_path / "metadata.csv").write_text("file,unit\na.png,1,2\n")
    with pytest.raises(InputError, match=r"metadata\.csv, line 2: 3 cells"):
        resolve_columns(_config(tmp_path, columns))


def test_the_gate_may_ask_for_slices_by_a_column_that_was_found(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(TABLE)
    resolve_columns(_config(tmp_path, gate=_slice("Scanner")))
    # Named, it has been checked before any file is read.
    resolve_columns(_config(tmp_path, ["md5"], gate=_slice("md5")))
    with pytest.raises(InputError) as caught:
        resolve_columns(_config(tmp_path, gate=_slice("md5")))
    assert str(caught.value) == (
        "configuration is wrong:\n"
        "  gate.slices.0.feature: 'md5' is none of class, source, view, sex, age_group, scanner, "
        "licence; data.slice_columns names further columns"
    )


def test_it_imports_neither_tfx_nor_tensorflow() -> None:
    code = (
        "import sys, pipeline.resolve.columns\n"
        "sys.exit(bool({'tfx', 'tensorflow', 'apache_beam'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
