"""Whole runs into an OUTPUT that was copied, damaged, or taken away in the middle.

What is looked at before a run, rule by rule: tests/pipeline/local/folder/.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.phantoms import write_phantoms
from pipeline.runs.record import read_records
from tests.pipeline.forked_runs import Done, ForkedRuns, Moment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]

KILLED = -9
EXAMPLES = "RadiographExampleGen"


@dataclass(frozen=True)
class Whole:
    """A run that came to its end, and the process that runs more.

    Attributes:
        runs: to run with.
        data: folder of images.
        output: of the run.
        folder: for copies.
    """

    runs: ForkedRuns
    data: Path
    output: Path
    folder: Path

    def copy(self, name: str) -> OutputLayout:
        """A copy in which the store names its own files."""
        layout = OutputLayout(self.folder / name)
        shutil.copytree(self.output, layout.root)
        return layout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Made once; nobody writes into it."""
    folder = tmp_path_factory.mktemp("broken runs")
    data = folder / "data"
    write_phantoms(data, (10, 12, 11), size=64, seed=7)
    runs = ForkedRuns(folder)
    try:
        first = runs.run(data, folder / "run")
        assert first.exit_code == cli.EXIT_PUSHED, first.printed
        yield Whole(runs, data, folder / "run", folder)
    finally:
        runs.close()


def files(folder: Path) -> dict[str, int]:
    """Each with the time at which it was last written."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def sentence(done: Done) -> str:
    """What a run that was refused, or failed, ends with: one line, and no traceback."""
    assert "Traceback" not in done.printed
    (line,) = [line for line in done.printed.splitlines() if line.startswith("cxr: ")]
    assert done.printed.rstrip().endswith(line)
    return line


def test_a_copy_is_gone_on_with_beside_the_first(whole: Whole) -> None:
    before = files(whole.output)
    copied = whole.copy("copied")
    done = whole.runs.run(whole.data, copied.root)
    assert done.exit_code == cli.EXIT_PUSHED, done.printed
    assert f"was copied or moved from {whole.output}." in done.printed
    # Who reads no artifact; the others' cache keys hold paths.
    assert done.nodes("cached") == {"CuratedSchemaGen", "PretrainedBackbone.vgg16", EXAMPLES}
    assert files(whole.output) == before
    # In its rows; pages may keep what rows held before.
    with contextlib.closing(sqlite3.connect(copied.metadata)) as store:
        assert str(whole.output) + "/" not in "".join(store.iterdump())
    summary = json.loads(copied.summary.read_text())
    assert summary["champion_pushed_to"].startswith(f"{copied.serving}/")
    again = whole.runs.run(whole.data, copied.root)
    assert again.nodes("executed") == set()
    assert "WARNING output" not in again.printed
    # The first came with the copy.
    assert [record.state for record in read_records(copied).readable] == ["complete"] * 3


def test_without_its_store_a_run_starts_beside_what_is_there(whole: Whole) -> None:
    layout = whole.copy("storeless")
    layout.metadata.unlink()
    before = files(layout.artifacts)
    done = whole.runs.run(whole.data, layout.root, node="Featurizer.vgg16")
    assert done.exit_code == KILLED, done.printed
    assert f"{layout.metadata} was not there, but artifacts are" in done.printed
    assert {EXAMPLES, "Transform"} <= done.nodes("executed")
    after = files(layout.artifacts)
    assert {name: after[name] for name in before} == before


def test_a_file_that_was_cut_is_made_again_by_its_node(whole: Whole) -> None:
    layout = whole.copy("cut")
    (file,) = layout.artifacts.glob("ModelCard.vgg16/model_card/*/model_card.md")
    file.write_bytes(file.read_bytes()[:-20])
    (examples,) = layout.artifacts.glob(f"{EXAMPLES}/examples/*/Split-eval/*.gz")
    examples.write_bytes(examples.read_bytes()[:-20])
    done = whole.runs.run(whole.data, layout.root, node="ShortcutAudit")
    assert f"made by {EXAMPLES}, is damaged: Split-eval/{examples.name} has" in done.printed
    assert "made by ModelCard.vgg16, is damaged: model_card.md has" in done.printed
    assert EXAMPLES in done.nodes("executed")
    assert (layout.damaged / file.relative_to(layout.artifacts)).exists()


def test_a_file_with_another_content_is_named_where_a_node_fails(whole: Whole) -> None:
    layout = whole.copy("changed")
    (file,) = layout.artifacts.glob(f"{EXAMPLES}/examples/*/Split-train/*.gz")
    file.write_bytes(b"\0" * file.stat().st_size)
    done = whole.runs.run(whole.data, layout.root)
    assert done.exit_code == cli.EXIT_INPUT, done.printed
    said = sentence(done)
    assert "failed on damaged files." in said
    assert f"made by {EXAMPLES}, is damaged: Split-train/{file.name} has another content" in said
    again = whole.runs.run(whole.data, layout.root, node="ShortcutAudit")
    assert again.exit_code == KILLED, again.printed
    assert EXAMPLES in again.nodes("executed")


@pytest.mark.parametrize("moment", ["start", "middle"])
def test_images_that_go_while_they_are_read(whole: Whole, moment: Moment) -> None:
    data, output = whole.folder / f"images {moment}", whole.folder / f"imageless {moment}"
    shutil.copytree(whole.data, data)
    done = whole.runs.run(data, output, node=EXAMPLES, moment=moment, act=data)
    assert done.exit_code == cli.EXIT_INPUT, done.printed
    assert f"data.dir: {data} is no folder any more" in sentence(done)
    assert EXAMPLES in sentence(done)
    shutil.copytree(whole.data, data)
    again = whole.runs.run(data, output, node="ShortcutAudit")
    assert again.nodes("executed") == {EXAMPLES, "PreviousStatistics"}
    assert again.nodes("cached") == done.nodes("executed") != set()


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("", "start"),
        ("", "end"),
        # At the start it would be made anew, and missed by a later node.
        ("artifacts", "middle"),
        ("artifacts", "end"),
        ("metadata.sqlite", "start"),
        ("metadata.sqlite", "end"),
    ],
)
def test_output_that_goes_while_a_node_runs(whole: Whole, name: str, moment: Moment) -> None:
    layout = OutputLayout(whole.folder / f"going {name} {moment}")
    # What nobody took away stays.
    other = whole.folder / f"going {name} {moment}/serving/mine"
    other.mkdir(parents=True)
    (other / "file").write_text("there")
    done = whole.runs.run(
        whole.data, layout.root, node=EXAMPLES, moment=moment, act=layout.root / name
    )
    assert done.exit_code == cli.EXIT_INPUT, done.printed
    said = sentence(done)
    assert f"output: {layout.root}" in said
    assert "was removed, moved or replaced while" in said
    assert not name or (other / "file").read_text() == "there"
    again = whole.runs.run(whole.data, layout.root, node="StatisticsGen")
    assert again.exit_code == KILLED, again.printed
    assert "ShortcutAudit" in again.how
