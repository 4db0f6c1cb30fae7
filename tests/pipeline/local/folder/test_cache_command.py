"""`cxr cache`: what is there, what is damaged, and how to have it made again."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.feature_store import usage
from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.opening import open_folder

TRANSFORM = "Transform/transformed_examples/2"
Cxr = Callable[..., tuple[int, str]]


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cxr:
    """Arguments -> exit code, and what is printed."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out + printed.err

    return call


def test_what_is_whole_is_listed_by_node_and_nothing_is_written(
    cxr: Cxr, layout: OutputLayout
) -> None:
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")}
    code, printed = cxr("cache", "--output", layout.root)
    assert code == 0
    lines = [line.split() for line in printed.splitlines()]
    for node in ("Pusher.tiny", "RadiographExampleGen", "Transform"):
        assert [node, "1", "0.0"] in lines
    assert "No file is damaged." in printed
    assert {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")} == before


def test_what_is_damaged_is_named_and_mended_where_that_is_asked_for(
    cxr: Cxr, layout: OutputLayout, warnings: list[str]
) -> None:
    file = layout.artifacts / TRANSFORM / "Split-train/data.gz"
    file.write_bytes(b"MORE images")
    code, printed = cxr("cache", "--output", layout.root)
    assert code == 2
    said = f"artifacts/{TRANSFORM}, made by Transform, is damaged: Split-train/data.gz has another"
    assert said in printed
    assert f"cxr cache --output '{layout.root}' --mend, and then cxr run" in printed
    assert file.exists()

    code, printed = cxr("cache", "--output", layout.root, "--mend")
    assert code == 0
    assert said in printed
    assert f"It is now in {layout.damaged / TRANSFORM}; a run makes it again" in printed
    assert not file.exists()
    assert cxr("cache", "--output", layout.root)[0] == 0
    open_folder(layout, warnings.append)
    assert warnings == []


def test_the_same_as_json(cxr: Cxr, layout: OutputLayout) -> None:
    (layout.artifacts / TRANSFORM / "Split-train/data.gz").write_bytes(b"m")
    left = layout.artifacts / "Trainer.tiny/model/8"
    left.mkdir(parents=True)
    content = json.loads(layout.inventory.read_text())
    del content["RadiographExampleGen/examples/1"]
    layout.inventory.write_text(json.dumps(content))
    code, printed = cxr("cache", "--json", "--output", layout.root)
    assert code == 2
    found = json.loads(printed)
    assert found["nodes"]["RadiographExampleGen"] == {"artifacts": 1, "bytes": 6}
    assert found["unchecked"] == 1
    assert found["unfinished"] == ["Trainer.tiny/model/8"]
    (damaged,) = found["damaged"]
    assert damaged["node"] == "Transform"
    assert damaged["folder"] == f"artifacts/{TRANSFORM}"
    assert damaged["files"] == [{"file": "Split-train/data.gz", "how": "has 1 bytes instead of 11"}]
    assert damaged["set_aside"] is None


def test_without_artifacts_or_store_it_says_what_to_do(
    cxr: Cxr, layout: OutputLayout, tmp_path: Path
) -> None:
    code, printed = cxr("cache", "--output", tmp_path / "nothing")
    assert (code, printed.count("\n")) == (2, 1)
    assert "holds no artifacts" in printed
    layout.metadata.unlink()
    code, printed = cxr("cache", "--output", layout.root)
    assert (code, printed.count("\n")) == (2, 1)
    assert "that begins a new store beside what is there" in printed


@pytest.fixture
def featured(layout: OutputLayout) -> tuple[Path, Path]:
    """Features of two networks in OUTPUT: an artifact refers to the first."""
    from tests.corner_prefix import CornerPrefix, stored

    folders = []
    for weights, who in (("a", layout.artifacts / TRANSFORM), ("b", layout.artifacts / "gone")):
        prefix = stored(str(layout.features), CornerPrefix(), backbone="tiny", weights=weights)
        list(prefix.stream(1, lambda _: np.zeros((1, 4, 4, 1), np.uint8)))
        assert prefix.network is not None
        usage.note(str(layout.features), str(who), [prefix.network.name])
        folders.append(Path(prefix.network.folder))
    return folders[0], folders[1]


def test_features_are_listed_and_what_no_run_refers_to_is_removed(
    cxr: Cxr, layout: OutputLayout, featured: tuple[Path, Path]
) -> None:
    used, unused = featured
    code, printed = cxr("cache", "--output", layout.root)
    assert code == 0
    for folder, times in ((used, "1"), (unused, "0")):
        (row,) = (line.split() for line in printed.splitlines() if folder.name[:8] in line)
        assert row[0] == "tiny"
        assert row[-2] == times
    assert "cxr cache clean" in printed

    code, printed = cxr("cache", "clean", "--output", layout.root, "--dry-run")
    assert code == 0
    assert str(unused) in printed
    assert "would be removed" in printed
    assert unused.exists()
    code, printed = cxr("cache", "clean", "--output", layout.root)
    assert code == 0
    assert str(used) not in printed
    assert used.exists()
    assert not unused.exists()
    assert "0.0 MB removed" in cxr("cache", "clean", "--output", layout.root)[1]


def test_the_features_of_a_study_need_no_artifacts(
    cxr: Cxr, layout: OutputLayout, featured: tuple[Path, Path]
) -> None:
    shutil.rmtree(layout.artifacts)
    code, printed = cxr("cache", "--json", "--output", layout.root)
    assert code == 0
    found = json.loads(printed)
    assert found["nodes"] == {}
    assert found["features"]["store"] == str(layout.features)
    assert {row["network"] for row in found["features"]["networks"]} == {f.name for f in featured}
    assert [row["images"] for row in found["features"]["networks"]] == [1, 1]


def test_without_features_there_is_nothing_to_clean(cxr: Cxr, layout: OutputLayout) -> None:
    code, printed = cxr("cache", "clean", "--output", layout.root)
    assert (code, printed.count("\n")) == (2, 1)
    assert "holds no features" in printed
