"""The component as a node: settings, caching, errors, and its neighbour StatisticsGen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tfx import v1 as tfx

from common.errors import InputError
from components.radiograph_example_gen import RadiographExampleGen
from components.radiograph_example_gen.discovery import discover
from components.radiograph_example_gen.executor import RadiographExampleGenExecutor
from components.radiograph_example_gen.fingerprint import fingerprint_folder
from components.radiograph_example_gen.manifest import read_summary
from components.radiograph_example_gen.settings import ClassFolders
from tests.components.radiograph_example_gen.conftest import ANY_TABLE
from tests.components.without_beam import map_to_lines

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

Launch = Callable[..., bool]


@pytest.fixture
def launch(tmp_path: Path, tree: Any, classes: Any) -> Launch:
    """Run a pipeline of the one node; True if it was executed, False if cached."""

    def run(**settings: Any) -> bool:
        root = tmp_path / "pipeline"
        manifests = root / "RadiographExampleGen" / "manifest"
        before = set(manifests.glob("*/summary.json"))
        given = {"classes": classes, "seed": 1, "limits": ANY_TABLE, **settings}
        node = RadiographExampleGen(str(tree.root), **given)
        database = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.db")
        )
        pipeline = tfx.dsl.Pipeline(
            "p",
            str(root),
            components=[node],
            enable_cache=True,
            metadata_connection_config=database,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return set(manifests.glob("*/summary.json")) != before

    return run


def test_cache_follows_contents_not_dates(
    tree: Any, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RadiographExampleGenExecutor, "_map_to_lines", map_to_lines)
    tree.metadata([("Normal/0.png", "", "p")])
    assert launch()
    assert not launch()
    for path in tree.root.rglob("*.png"):
        os.utime(path, (1, 1))
    assert not launch()
    (tree.root / "Normal/7.png").rename(tree.root / "Viral Pneumonia/moved.png")
    assert launch()
    tree.metadata([("Normal/0.png", "", "q")])
    assert launch()
    assert launch(code_digest="new code")
    assert not launch(code_digest="new code")
    assert launch(seed=2)


def test_unreadable_file_does_not_stop_the_driver(tree: Any, launch: Launch) -> None:
    (tree.root / "Normal/gone.png").symlink_to(tree.root / "Normal/nowhere")
    assert launch()
    assert not launch()


def test_input_errors_reach_the_caller(tree: Any, launch: Launch) -> None:
    for index in range(5):
        (tree.root / f"Normal/bad{index}.png").write_bytes(b"")
    with pytest.raises(InputError, match="5 of 29"):
        launch()
    for path in (tree.root / "Normal").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no PNG, JPEG or DICOM in"):
        launch()


def test_statistics_gen_reads_the_examples(golden: GoldenRun) -> None:
    import tensorflow_data_validation as tfdv

    artifacts = golden.layout.artifacts
    files = sorted((artifacts / "StatisticsGen").rglob("FeatureStats.pb"))
    assert [path.parent.name for path in files] == ["Split-eval", "Split-test", "Split-train"]
    found = {
        path.parent.name: tfdv.load_stats_binary(str(path)).datasets[0].num_examples
        for path in files
    }
    (manifest,) = (artifacts / "RadiographExampleGen" / "manifest").iterdir()
    totals = read_summary(str(manifest))["split_totals"]
    assert found == {f"Split-{split}": total for split, total in totals.items()}
    assert sum(found.values()) == 90


def test_equal_settings_serialize_equally(classes: Any) -> None:
    first = RadiographExampleGen("d", classes, 1, limits={"min_side": 8, "max_pixels": 99})
    turned: Any = [{"folders": tuple(entry["folders"]), "name": entry["name"]} for entry in classes]
    second = RadiographExampleGen("d", turned, 1, limits={"max_pixels": 99, "min_side": 8})
    assert first.exec_properties == second.exec_properties


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data_dir": ""}, r"data\.dir is empty"),
        ({"columns": [" "]}, r"data\.slice_columns: '' is not the name"),
        ({"columns": ["Sex"]}, r"data\.slice_columns: 'sex' is not the name"),
        ({"columns": ["a", "A "]}, r"data\.slice_columns: 'a' is given twice"),
        ({"columns": [1]}, "columns must be a list of names"),
        ({"test_fraction": "1"}, r"data\.test_fraction is 1"),
        ({"eval_fraction": "a third"}, r"data\.eval_fraction is 'a third'"),
        ({"limits": {"max_size": 3}}, "unknown key 'max_size'"),
        ({"limits": {"max_bad_fraction": 2}}, r"data\.max_bad_fraction is 2: it must lie"),
        ({"limits": {"min_side": 0}}, r"data\.min_side is 0: it must be at least 1"),
        ({"limits": {"max_pixels": 0}}, r"data\.max_pixels is 0"),
        ({"limits": {"min_side": "8"}}, r"data\.min_side is '8': it must be a number"),
        (
            {"classes": [{"name": "a", "folders": ["a"]}]},
            r"data\.classes must be a list of at least two classes",
        ),
        ({"classes": [{"name": "a", "folders": []}] * 2}, r"data\.classes: .*at least one folder"),
        (
            {"classes": [{"name": "a", "folders": ["../a"]}] * 2},
            r"data\.classes: .*direct sub-folder",
        ),
        ({"classes": [{"name": "a", "folders": ["a"]}] * 2}, r"data\.classes: .*given twice"),
        (
            {"classes": [{"name": "a", "folders": ["x"]}, {"name": "b", "folders": ["X"]}]},
            r"data\.classes: .*belongs to both",
        ),
    ],
)
def test_settings_are_checked(classes: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RadiographExampleGen(**{"data_dir": "d", "classes": classes, "seed": 1, **settings})


def test_fingerprint(tmp_path: Path) -> None:
    classes = (ClassFolders("a", ("a",)), ClassFolders("b", ("b",)))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(name.encode())
    seen = set()

    def digest(metadata: bytes | None = None) -> str:
        return fingerprint_folder(str(tmp_path), discover(tmp_path, classes), metadata)

    seen.add(digest())
    seen.add(digest(b""))
    seen.add(digest(b"file\n"))
    (tmp_path / "a/1.png").rename(tmp_path / "a/2.png")
    seen.add(digest())
    (tmp_path / "a/2.png").write_bytes(b"other")
    seen.add(digest())
    (tmp_path / "a/3.png").mkdir()
    seen.add(digest())
    # Not read, but too many of them stop the run.
    (tmp_path / "a/4.tif").touch()
    seen.add(digest())
    (tmp_path / "a/notes.txt").touch()
    seen.add(digest())
    assert len(seen) == 7
