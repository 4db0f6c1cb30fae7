"""When the node runs again, and files that can't be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest

from common.errors import InputError
from components.curated_schema_gen import CuratedSchemaGen
from schema import SCHEMA_DIR


@pytest.fixture
def schema_file(tmp_path: Path) -> Path:
    """A copy of the packaged schema."""
    path = tmp_path / "schema.pbtxt"
    path.write_bytes((SCHEMA_DIR / "schema.pbtxt").read_bytes())
    return path


@pytest.fixture
def artifacts(schema_file: Path, launch: Callable[..., Any]) -> Callable[[], list[Path]]:
    """Runs the node once more; returns the folders of all schemas that it ever wrote."""

    def run() -> list[Path]:
        connection = launch(CuratedSchemaGen(schema_file), enable_cache=True)
        schemas = mlmd.MetadataStore(connection).get_artifacts_by_type("Schema")
        return [Path(schema.uri) for schema in sorted(schemas, key=lambda s: s.id)]

    return run


@pytest.mark.slow
def test_an_edit_is_noticed_and_a_new_date_is_not(
    schema_file: Path, artifacts: Callable[[], list[Path]]
) -> None:
    original = schema_file.read_bytes()
    assert len(artifacts()) == 1
    os.utime(schema_file, (1, 1))
    assert len(artifacts()) == 1
    edited = original.replace(b"max: 120", b"max: 130")
    assert edited != original
    schema_file.write_bytes(edited)
    folders = artifacts()
    assert len(folders) == 2
    assert [(folder / "schema.pbtxt").read_bytes() for folder in folders] == [original, edited]
    schema_file.write_bytes(original)
    assert len(artifacts()) == 2


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"schema\.pbtxt can't be read: No such file"):
        CuratedSchemaGen(tmp_path / "schema.pbtxt")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        CuratedSchemaGen(tmp_path)


def test_it_comes_along_whole_and_without_its_path(schema_file: Path) -> None:
    # A step in a container has no such path, and the IR is to name no machine's folders.
    node = CuratedSchemaGen(schema_file)
    assert node.exec_properties == {"schema_text": schema_file.read_text()}


def test_one_from_before_a_feature_was_read_is_refused(schema_file: Path) -> None:
    schema_file.write_text(schema_file.read_text().replace('key: "patient/group"', 'key: "x"'))
    with pytest.raises(InputError, match=r"has no tensor of patient/group, .* copy the lines"):
        CuratedSchemaGen(schema_file)
