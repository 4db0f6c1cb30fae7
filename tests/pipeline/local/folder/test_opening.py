"""A run's first look at OUTPUT: a store that is lost, damaged, or of another version."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.opening import begin_folder, open_folder
from pipeline.local.folder.store_check import highest_folder
from pipeline.local.metadata_store import open_store

PAGE = 4096
Damaging = Callable[[bytes], bytes]


def next_execution(layout: OutputLayout) -> int:
    """The number that ml_metadata gives to a new execution."""
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(layout.metadata)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE
    store = mlmd.MetadataStore(config)
    type_id = store.put_execution_type(pb.ExecutionType(name="any"))
    (number,) = store.put_executions([pb.Execution(type_id=type_id)])
    return int(number)


def content(folder: Path) -> dict[str, bytes]:
    """Files, but for the store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("metadata.sqlite")
    }


def test_a_first_run_gets_an_empty_store_and_no_warning(
    tmp_path: Path, warnings: list[str]
) -> None:
    layout = OutputLayout(tmp_path)
    open_folder(layout, warnings.append)
    # What is refused at its start leaves nothing there.
    assert list(tmp_path.iterdir()) == []
    begin_folder(layout)
    assert warnings == []
    assert next_execution(layout) == 1


@pytest.mark.parametrize("kept", [False, True])
def test_what_was_pushed_by_an_earlier_version_is_said_to_be_nobodys_baseline(
    layout: OutputLayout, warnings: list[str], kept: bool
) -> None:
    (layout.serving / "tiny" / "17").mkdir(parents=True)
    before = layout.root / "history"
    if kept:
        before.mkdir()
    open_folder(layout, warnings.append)
    (warning,) = warnings
    assert (f"What it kept in {before} is not read." in warning) == kept
    assert f"what {layout.serving} has was pushed by an earlier version" in warning
    assert "no model is compared with it" in warning
    (layout.pushed / "tiny" / "18").mkdir(parents=True)
    open_folder(layout, warnings.append)
    assert len(warnings) == 1


def test_what_is_sound_is_left_as_it_is(layout: OutputLayout, warnings: list[str]) -> None:
    (before, store) = content(layout.root), layout.metadata.read_bytes()
    open_folder(layout, warnings.append)
    assert warnings == []
    assert content(layout.root) == before
    assert layout.metadata.read_bytes() == store


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_without_a_store_the_run_starts_beside_what_is_there(
    layout: OutputLayout, warnings: list[str], how: str
) -> None:
    before = content(layout.root)
    taken = layout.artifacts / "Trainer.tiny/.system/executor_execution/41"
    taken.mkdir(parents=True)
    # Named by the time, and no execution.
    (layout.artifacts / "Trainer.tiny/.system/driver_execution/1795811686000").mkdir(parents=True)
    layout.metadata.unlink()
    if how == "emptied":
        layout.metadata.touch()
    # Nobody's any more: left alone, damaged or not.
    (layout.artifacts / "Transform/transformed_examples/2/Split-train/data.gz").write_bytes(b"")
    before["artifacts/Transform/transformed_examples/2/Split-train/data.gz"] = b""

    open_folder(layout, warnings.append)

    (warning,) = warnings
    assert str(layout.metadata) in warning
    assert "up to number 41" in warning
    assert "from 42 on" in warning
    assert next_execution(layout) == 42
    assert content(layout.root) == before
    open_folder(layout, warnings.append)
    assert len(warnings) == 1


def test_an_older_store_that_was_put_back_numbers_above_what_it_does_not_know(
    layout: OutputLayout, warnings: list[str]
) -> None:
    (layout.artifacts / "Report/report/57").mkdir(parents=True)
    open_folder(layout, warnings.append)
    (warning,) = warnings
    assert "up to 3, and there are folders up to 57" in warning
    assert next_execution(layout) == 58


def test_folders_are_numbered_from_one_where_there_is_none(tmp_path: Path) -> None:
    assert highest_folder(OutputLayout(tmp_path)) == 0


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:-PAGE], id="last page cut"),
        pytest.param(lambda whole: whole[: len(whole) // 2 + 100], id="half"),
        pytest.param(lambda whole: whole[:3000], id="less than a page"),
        pytest.param(
            lambda whole: whole[: 2 * PAGE] + b"x" * PAGE + whole[3 * PAGE :], id="a page"
        ),
        pytest.param(lambda _: b"hello" * 1000, id="text"),
    ],
)
def test_a_damaged_store_is_named_and_nothing_is_changed(
    layout: OutputLayout, warnings: list[str], damage: Damaging
) -> None:
    damaged = damage(layout.metadata.read_bytes())
    layout.metadata.write_bytes(damaged)
    before = content(layout.root)
    with pytest.raises(InputError) as refused:
        open_folder(layout, warnings.append)
    message = str(refused.value)
    assert message.startswith(f"output: {layout.metadata} is damaged (")
    assert "move it away" in message
    assert "SELECT" not in message
    assert len(message.splitlines()) == 1
    assert layout.metadata.read_bytes() == damaged
    assert content(layout.root) == before


def test_a_database_of_something_else_is_no_store(tmp_path: Path, warnings: list[str]) -> None:
    layout = OutputLayout(tmp_path)
    with contextlib.closing(sqlite3.connect(layout.metadata)) as other, other:
        other.execute("CREATE TABLE patients (name TEXT)")
    with pytest.raises(InputError, match="holds no metadata store"):
        open_folder(layout, warnings.append)


@pytest.mark.parametrize("version", [9, 99])
def test_a_store_of_another_version_is_refused_with_both_versions(
    layout: OutputLayout, warnings: list[str], version: int
) -> None:
    with contextlib.closing(sqlite3.connect(layout.metadata)) as store, store:
        store.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
    before = layout.metadata.read_bytes()
    with pytest.raises(InputError) as refused:
        open_folder(layout, warnings.append)
    message = str(refused.value)
    assert f"its schema is {version}, which ml_metadata {mlmd.__version__} can't use" in message
    assert len(message.splitlines()) == 1
    assert layout.metadata.read_bytes() == before


def test_a_folder_in_the_place_of_the_store_is_said(tmp_path: Path, warnings: list[str]) -> None:
    layout = OutputLayout(tmp_path)
    layout.metadata.mkdir()
    with pytest.raises(InputError, match="is no file"):
        open_folder(layout, warnings.append)


def test_what_a_killed_run_left_half_written_is_taken_back(
    layout: OutputLayout, warnings: list[str]
) -> None:
    """SQLite's journal holds the pages as they were before the transaction."""
    before = layout.metadata.read_bytes()
    with contextlib.closing(sqlite3.connect(layout.metadata)) as store:
        # Pages go to the file before the end of the transaction, as where memory is short.
        store.execute("PRAGMA cache_size = 1")
        store.execute("PRAGMA cache_spill = 1")
        store.execute("BEGIN")
        store.execute("UPDATE Artifact SET uri = ?", ("x" * 20000,))
        store.execute("CREATE TABLE big AS SELECT randomblob(100000) AS column_of_it")
        copied = layout.root.with_name("killed")
        shutil.copytree(layout.root, copied)
        store.rollback()
    killed = OutputLayout(copied)
    assert killed.metadata.with_name("metadata.sqlite-journal").stat().st_size > 0
    assert killed.metadata.read_bytes() != before
    open_folder(killed, warnings.append)
    (artifact, *_) = open_store(killed).get_artifacts()
    assert "xxx" not in artifact.uri
    assert not killed.metadata.with_name("metadata.sqlite-journal").exists()
