"""Where SavedModels lie, and what one is known by."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.saved_models import digest_of_model, given_model, has_saved_model, versions_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SavedModel's files, with one beside them that a push put there."""
    folder = tmp_path / "model"
    for name, content in (
        ("saved_model.pb", "graph"),
        ("variables/variables.index", "index"),
        ("assets.extra/card.json", "card"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_a_copy_is_known_by_the_same_digest_whatever_a_push_puts_beside(folder: Path) -> None:
    digest = digest_of_model(str(folder))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    (copy / "assets.extra" / "card.json").write_text("another card")
    assert digest_of_model(str(copy)) == digest
    assert digest_of_model(f"{copy}/") == digest


@pytest.mark.parametrize(
    ("before", "after"),
    [("variables/variables.index", None), ("variables/variables.index", "variables/renamed")],
    ids=["content", "name"],
)
def test_a_files_content_and_its_name_change_the_digest(
    before: str, after: str | None, folder: Path
) -> None:
    digest = digest_of_model(str(folder))
    if after:
        (folder / before).rename(folder / after)
    else:
        (folder / before).write_text("Index")
    assert digest_of_model(str(folder)) != digest


def test_a_file_larger_than_what_is_read_at_once_counts_to_its_end(folder: Path) -> None:
    content = bytearray(b"w" * ((1 << 20) + 1))
    (folder / "saved_model.pb").write_bytes(content)
    digest = digest_of_model(str(folder))
    content[-1] = 0
    (folder / "saved_model.pb").write_bytes(content)
    assert digest_of_model(str(folder)) != digest


def test_versions_are_numbers_and_the_highest_is_the_first(tmp_path: Path) -> None:
    for name in ("9", "10", "notes", "1.tmp"):
        (tmp_path / name).mkdir()
    assert versions_in(str(tmp_path)) == ["10", "9"]
    assert versions_in(str(tmp_path / "nowhere")) == []


def test_a_model_is_given_only_where_its_files_are_there(folder: Path, tmp_path: Path) -> None:
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "artifact")
    assert not has_saved_model(model)
    assert given_model([model]) is None, "an empty artifact"
    assert given_model(None) is None
    assert given_model([]) is None
    shutil.copytree(folder, tmp_path / "artifact" / "Format-Serving")
    assert has_saved_model(model)
    assert given_model([model]) is model
    # One input never holds two.
    with pytest.raises(ValueError, match="2"):
        given_model([model, model])
