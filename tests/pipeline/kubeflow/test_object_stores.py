"""TFX's own reading and writing, in a store that only fsspec reaches."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from pipeline.kubeflow.object_stores import register_object_stores


@pytest.fixture
def store() -> str:
    """URI of an empty bucket."""
    import fsspec

    register_object_stores()
    system = fsspec.filesystem("memory")
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)
    return "memory://bucket"


def test_a_folder_goes_there_and_comes_back(store: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"\0model")
    (model / "variables" / "data").write_bytes(b"weights")
    io_utils.copy_dir(str(model), f"{store}/serving/7", deny_regex_patterns=[r"saved_model\.pb"])
    assert not fileio.exists(f"{store}/serving/7/saved_model.pb")
    io_utils.copy_file(f"{model}/saved_model.pb", f"{store}/serving/7/saved_model.pb")
    assert fileio.listdir(f"{store}/serving") == ["7"]
    assert fileio.listdir(f"{store}/serving/7") == ["saved_model.pb", "variables"]
    assert fileio.isdir(f"{store}/serving/7")
    io_utils.copy_dir(f"{store}/serving/7", str(tmp_path / "back"))
    found = {
        str(path.relative_to(tmp_path / "back")): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert found == {"saved_model.pb": b"\0model", "variables/data": b"weights"}


def test_files_are_renamed_found_and_removed(store: str) -> None:
    io_utils.write_string_file(f"{store}/a/one.txt", "1")
    fileio.rename(f"{store}/a/one.txt", f"{store}/a/two.txt")
    assert fileio.glob(f"{store}/a/*.txt") == [f"{store}/a/two.txt"]
    fileio.copy(f"{store}/a/two.txt", f"{store}/a/three.txt")
    with pytest.raises(OSError, match="is there already"):
        fileio.copy(f"{store}/a/two.txt", f"{store}/a/three.txt")
    fileio.remove(f"{store}/a/two.txt")
    assert io_utils.read_string_file(f"{store}/a/three.txt") == "1"
    fileio.rmtree(f"{store}/a")
    assert not fileio.exists(f"{store}/a/three.txt")


def test_what_is_not_there_is_tfxs_own_error(store: str) -> None:
    with pytest.raises(fileio.NotFoundError, match="no such file"):
        fileio.open(f"{store}/none", "rb")
    with pytest.raises(fileio.NotFoundError, match="no such folder"):
        fileio.listdir(f"{store}/none")
