"""What `cxr runs` lists, of stores that ml_metadata made."""

from __future__ import annotations

import datetime
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.runs.record import Record, record_of
from pipeline.runs.store import read_runs

if TYPE_CHECKING:
    from tests.pipeline.runs.conftest import Runs

FIRST, SECOND = "2026-01-02T03:04:05.000001", "2026-01-02T03:05:06.000002"


def records(runs: Runs) -> list[Record]:
    """What is in the store at the moment."""
    layout = runs.store.layout
    return [record_of(run, layout) for run in read_runs(layout)]


def test_a_run_that_came_to_its_end(runs: Runs) -> None:
    before = datetime.datetime.now(datetime.timezone.utc)
    runs.whole(FIRST)
    (record,) = records(runs)
    found = record.to_json()
    started = datetime.datetime.fromisoformat(found.pop("started"))
    assert started.utcoffset() == datetime.timedelta(0)
    assert abs((started - before).total_seconds()) < 60
    assert 0 <= found.pop("seconds") < 60
    per_class = {"train": 10, "eval": 4, "test": 5}
    assert found == {
        "run": FIRST,
        "state": "complete",
        "at": None,
        "seed": 3,
        "data": {
            "digest": "d1" * 32,
            "counts": {split: {"COVID-19": n, "Normal": n} for split, n in per_class.items()},
        },
        "models": {
            "tiny": {
                **{"accuracy": 0.9, "correct": 9, "total": 10, "unknown_because": None},
                **{"blessed": True, "pushed": True, "pushed_to": "/serving/tiny/17"},
            }
        },
        "champion": "tiny",
        # Baseline looked something up; that is no work.
        "nodes": {"executed": 6, "cached": 0},
        "artifacts": {"all": 9, "gone": 0},
    }


def test_runs_come_oldest_first_and_cached_nodes_count_as_such(runs: Runs) -> None:
    runs.whole(FIRST)
    run = runs.store.begin(SECOND)
    before = read_runs(runs.store.layout)[0]
    for name, node in before.nodes.items():
        outputs = {key: artifact.id for key, artifact in node.outputs.items()}
        runs.store.node(run, name, "CACHED", same=outputs)
    first, second = records(runs)
    assert (first.run.id, second.run.id) == (FIRST, SECOND)
    assert (second.count("executed"), second.count("cached")) == (0, 7)
    assert second.models == first.models
    assert second.champion == "tiny"


def test_a_run_in_which_nothing_was_blessed(runs: Runs) -> None:
    runs.whole(FIRST, correct=3, blessed=False)
    (record,) = records(runs)
    assert (record.state, record.at, record.champion) == ("none blessed", None, None)
    model = record.models["tiny"]
    assert (model.blessed, model.pushed, model.pushed_to) == (False, False, None)


def test_a_failed_run_is_listed_with_the_node_and_what_came_before(runs: Runs) -> None:
    run = runs.store.begin(FIRST)
    runs.example_gen(run)
    runs.store.node(run, "Trainer.tiny", "FAILED")
    (record,) = records(runs)
    assert (record.state, record.at) == ("failed", "Trainer.tiny")
    assert record.digest == "d1" * 32
    model = record.models["tiny"]
    assert (model.figures, model.unknown, model.blessed, model.pushed) == (None, None, None, None)


def test_a_run_under_way_is_told_from_one_that_was_stopped(runs: Runs) -> None:
    run = runs.store.begin(FIRST)
    assert records(runs)[0].state == "stopped"
    assert records(runs)[0].at is None
    scratch = runs.store.layout.root / ".tmp-abc"
    scratch.mkdir()
    assert records(runs)[0].state == "running"
    runs.example_gen(run)
    # Between two nodes.
    assert records(runs)[0].at == "RadiographExampleGen"
    runs.store.node(run, "Trainer.tiny", "RUNNING")
    assert (records(runs)[0].state, records(runs)[0].at) == ("running", "Trainer.tiny")
    # Only the newest can be the one that the folder is of.
    runs.whole(SECOND)
    assert [record.state for record in records(runs)] == ["stopped", "complete"]
    assert records(runs)[0].at == "Trainer.tiny"


def test_what_is_deleted_is_counted_and_the_store_tells_the_rest(runs: Runs) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    before = records(runs)
    evaluation = before[0].run.output("Evaluator.tiny", "evaluation")
    assert evaluation is not None
    shutil.rmtree(evaluation.uri)
    first, second = records(runs)
    assert second == before[1]
    assert (first.gone, second.gone) == (1, 0)
    model = first.models["tiny"]
    assert model.figures is None
    assert model.unknown is not None and "no longer on disk" in model.unknown
    assert (model.blessed, model.pushed, first.champion) == (True, True, "tiny")
    shutil.rmtree(runs.store.layout.artifacts)
    assert [record.gone for record in records(runs)] == [9, 9]


def test_a_folder_without_a_store_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: .*metadata\.sqlite isn't there"):
        read_runs(OutputLayout(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "can't be read as a metadata store"),
        (b"no database at all" * 100, r"is damaged \(file is not a database\)\. Put a copy"),
    ],
)
def test_what_is_no_store_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    file = OutputLayout(tmp_path).metadata
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_runs(OutputLayout(tmp_path))
    assert file.read_bytes() == content


def test_a_store_without_a_run_is_an_empty_list(runs: Runs) -> None:
    assert records(runs) == []


def _elsewhere(database: Path, statements: str) -> subprocess.Popen[str]:
    """Another process, since SQLite's locks don't hold within one."""
    code = (
        "import os, sqlite3, sys\n"
        f"c = sqlite3.connect({str(database)!r}, isolation_level=None)\n"
        f"{statements}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_while_another_process_writes_what_was_there_before_is_read(runs: Runs) -> None:
    runs.whole(FIRST)
    before = records(runs)
    database = runs.store.layout.metadata
    content = database.read_bytes()
    # What a run holds while it writes.
    with _elsewhere(
        database,
        "c.execute('begin immediate')\nc.execute('delete from Execution')\n"
        "print('locked', flush=True)\nsys.stdin.read()\nc.execute('rollback')",
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert records(runs) == before
        other.communicate()
    assert database.read_bytes() == content


def test_a_store_that_a_killed_run_left_half_written_is_left_to_the_next_run(runs: Runs) -> None:
    runs.whole(FIRST)
    database = runs.store.layout.metadata
    with _elsewhere(
        database,
        "c.execute('pragma cache_size = 1')\nc.execute('begin')\n"
        'c.execute("update Execution set name = hex(randomblob(100))")\n'
        'c.execute("update ExecutionProperty set string_value = hex(randomblob(2000))")\n'
        "os._exit(0)",
    ):
        pass
    content = database.read_bytes()
    with pytest.raises(InputError, match="the next `cxr run` there mends it"):
        records(runs)
    assert database.read_bytes() == content
    sqlite3.connect(database).execute("select count(*) from Execution").fetchall()
    assert len(records(runs)) == 1
