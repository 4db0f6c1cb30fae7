"""OUTPUT copied and moved: its store names its own files, and nothing of the other folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.config.layout import OutputLayout
from pipeline.local.folder.opening import open_folder
from pipeline.local.folder.places import own_place, relocate
from pipeline.local.metadata_store import open_store

if TYPE_CHECKING:
    from tests.pipeline.local.folder.store import Store


def everything(layout: OutputLayout) -> str:
    """All that the store says, as text; without the times of ml_metadata's own."""
    store = open_store(layout)
    return "\n".join(map(str, (*store.get_artifacts(), *store.get_executions())))


@pytest.mark.parametrize("names", [("first", "second"), ("a/run", "a"), ('my "old" ü', "neu ö")])
def test_a_copy_names_its_own_files_only(
    ran: Callable[[Path], Store], tmp_path: Path, warnings: list[str], names: tuple[str, str]
) -> None:
    first, second = (OutputLayout(tmp_path / "x" / name) for name in names)
    # As protobuf writes a path into JSON.
    said = ran(first.root).layout.metadata.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(first.root, elsewhere)
    if first.root.is_relative_to(second.root):
        shutil.rmtree(second.root)
    elsewhere.rename(second.root)

    open_folder(second, warnings.append)

    (warning,) = warnings
    assert f"was copied or moved from {first.root}." in warning
    store = open_store(second)
    for artifact in store.get_artifacts():
        assert artifact.uri.startswith(f"{second.artifacts}/")
        assert Path(artifact.uri).is_dir()
    (pushed,) = [a for a in store.get_artifacts() if "pushed" in a.custom_properties]
    destination = pushed.custom_properties["pushed_destination"].string_value
    assert destination == f"{second.serving}/tiny/17"
    (pusher,) = [e for e in store.get_executions() if "data_dir" in e.custom_properties]
    # The images aren't the run's, and stay where they were.
    assert pusher.custom_properties["data_dir"].string_value == f"{first.root}/data"
    assert pusher.custom_properties["pushed"].string_value == f"{second.pushed}/tiny"
    if '"' not in str(first.root):
        base = pusher.custom_properties["push_destination"].string_value
        assert f'"{first.root!s}/' not in base
    if first.root.exists():
        assert first.metadata.read_bytes() == said
    assert relocate(second) == []


def test_a_folder_that_is_moved_back_is_as_before(
    layout: OutputLayout, tmp_path: Path, warnings: list[str]
) -> None:
    """With the times of change: they are part of TFX's cache key."""
    before, home = everything(layout), layout.root
    away = home.rename(tmp_path / "away")
    open_folder(OutputLayout(away), warnings.append)
    assert everything(OutputLayout(away)) != before
    away.rename(home)
    open_folder(layout, warnings.append)
    assert everything(layout) == before
    assert len(warnings) == 2


@pytest.mark.parametrize(
    ("uri", "below"),
    [
        ("/old/artifacts/Node/out/7", "Node/out/7"),
        ("/old/artifacts/artifacts/Node.a/out/7/value", "Node.a/out/7/value"),
        ("gs://bucket/model", None),
        ("/old/artifacts/Node/out", None),
    ],
)
def test_only_places_of_artifacts_are_read_as_such(
    tmp_path: Path, uri: str, below: str | None
) -> None:
    layout = OutputLayout(tmp_path)
    assert own_place(uri, layout) == (f"{layout.artifacts}/{below}" if below else uri)
