"""OUTPUT or DATA going while a node runs: what is said. Whole runs: test_broken_runs.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import load_config
from pipeline.local.folder.vanishing import (
    holding,
    missing_artifact,
    missing_data,
    missing_output,
)


@pytest.mark.parametrize("name", [".", "artifacts", "metadata.sqlite"])
def test_what_was_removed_of_output_is_named(layout: OutputLayout, name: str) -> None:
    place = layout.root.resolve() / name
    with holding(layout) as held:
        assert missing_output(held, "Transform") is None
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        found = missing_output(held, "Transform")
        assert isinstance(found, InputError)
        assert f"output: {place} was removed, moved or replaced while Transform ran" in str(found)
        # TFX makes folders, and SQLite the store, where they aren't.
        layout.artifacts.mkdir(parents=True, exist_ok=True)
        layout.metadata.touch()
        assert str(missing_output(held, "Transform")) == str(found)


def test_an_artifact_that_went_is_named(layout: OutputLayout) -> None:
    uris = [str(layout.artifacts / "Transform/transformed_examples/2"), str(layout.artifacts)]
    assert missing_artifact(uris, "Report") is None
    shutil.rmtree(uris[0])
    found = missing_artifact(uris, "Report")
    assert f"output: {uris[0]} was removed, moved or replaced while Report ran" in str(found)


def test_what_is_written_into_is_not_gone(layout: OutputLayout) -> None:
    with holding(layout) as held:
        (layout.artifacts / "Node/out/9").mkdir(parents=True)
        layout.metadata.write_bytes(layout.metadata.read_bytes())
        assert held.gone() is None


def test_images_that_went_are_said_with_the_field(tmp_path: Path) -> None:
    data = tmp_path / "images"
    data.mkdir()
    config = load_config(None, overrides={"data": {"dir": data}})
    assert missing_data(config, "RadiographExampleGen") is None
    data.rmdir()
    found = missing_data(config, "RadiographExampleGen")
    assert isinstance(found, InputError)
    assert str(found).startswith(f"data.dir: {data} is no folder any more: it was there when the ")
    assert "while RadiographExampleGen ran" in str(found)
    assert len(str(found).splitlines()) == 1
