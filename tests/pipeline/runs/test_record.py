"""What `cxr runs` lists: records as they are written, torn ones, and foreign ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.runs.record import IN_USE_FILE, Node, Record, read_records

if TYPE_CHECKING:
    from tests.pipeline.runs.conftest import Runs

FIRST, SECOND = "2026-01-02T03-04-05.000001", "2026-01-02T03-05-06.000002"


def records(runs: Runs) -> list[Record]:
    """What is there at the moment."""
    found = read_records(runs.layout)
    assert found.unreadable == {}
    return found.readable


def test_a_run_that_came_to_its_end(runs: Runs) -> None:
    runs.whole(FIRST)
    (record,) = records(runs)
    per_class = {"train": 10, "eval": 4, "test": 5}
    assert record.to_json(runs.layout) == {
        "run": FIRST,
        "started": "2026-01-02T03:04:05.000+00:00",
        "state": "complete",
        "at": None,
        "exit": 0,
        "error": None,
        "seconds": 12.5,
        "seed": 3,
        "data": {
            "digest": "d1" * 32,
            "counts": {split: {"COVID-19": n, "Normal": n} for split, n in per_class.items()},
        },
        "models": {
            "tiny": {
                **{"accuracy": 0.9, "correct": 9, "total": 10, "blessed": True, "pushed": True},
                "pushed_to": str(runs.layout.serving / "tiny" / "17"),
            }
        },
        "champion": "tiny",
        "nodes": {"executed": 4, "cached": 0},
        "artifacts": {"all": 3, "gone": 0},
    }
    # What nobody asks for is kept, too.
    assert json.loads(runs.file(FIRST).read_text())["result"]["data"]["bad"] == 0


def test_runs_come_oldest_first_and_cached_nodes_count_as_such(runs: Runs) -> None:
    runs.whole(SECOND, how="cached")
    runs.whole(FIRST)
    first, second = records(runs)
    assert (first.id, second.id) == (FIRST, SECOND)
    assert (second.count("executed"), second.count("cached")) == (0, 4)


def test_a_run_in_which_nothing_was_blessed(runs: Runs) -> None:
    runs.whole(FIRST, correct=3, blessed=False)
    found = records(runs)[0].to_json(runs.layout)
    assert (found["state"], found["at"], found["champion"]) == ("none blessed", None, None)
    model = found["models"]["tiny"]
    assert (model["blessed"], model["pushed"], model["pushed_to"]) == (False, False, None)


def _holding(file: Path) -> subprocess.Popen[str]:
    """Another process that holds a file, as a run does, once it has said so."""
    code = (
        "import fcntl, sys\n"
        f"held = open({str(file)!r}, 'wb')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_under_way_is_told_from_one_that_was_killed(runs: Runs) -> None:
    record = runs.begin(FIRST)
    record.nodes = {"Transform": Node(how="cached"), "Trainer.tiny": Node(how="unfinished")}
    runs.write(record)
    with _holding(runs.file(FIRST).with_name(IN_USE_FILE)) as other:
        (found,) = records(runs)
        assert (found.state, found.at) == ("running", "Trainer.tiny")
        other.kill()
        other.communicate()
    (found,) = records(runs)
    assert (found.state, found.at) == ("stopped", "Trainer.tiny")
    assert found.to_json(runs.layout)["data"] == {"digest": None, "counts": {}}


def test_a_copy_and_what_was_deleted_there(runs: Runs, tmp_path: Path) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    copy = OutputLayout(tmp_path / "copy")
    shutil.copytree(runs.layout.root, copy.root)
    shutil.rmtree(copy.artifacts / "Evaluator.tiny/blessing/3")
    first, second = (record.to_json(copy) for record in read_records(copy).readable)
    assert first["models"]["tiny"]["pushed_to"] == str(copy.serving / "tiny" / "17")
    assert [run["artifacts"]["gone"] for run in (first, second)] == [1, 0]
    # All else is in the record.
    assert second["models"]["tiny"]["correct"] == first["models"]["tiny"]["correct"] == 9
    assert [record.gone(runs.layout) for record in records(runs)] == [0, 0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "EOF while parsing"),
        (b'{"schema_version": 1, "id": "2026', "EOF while parsing a string"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"schema_version": 2}', "schema_version: Input should be 1"),
        (b'{"schema_version": 1}', "id: Field required"),
    ],
)
def test_a_torn_or_foreign_file_is_one_sentence_and_hides_no_other_run(
    runs: Runs, content: bytes | None, said: str
) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    runs.file(FIRST).unlink()
    if content is not None:
        runs.file(FIRST).write_bytes(content)
    found = read_records(runs.layout)
    assert [record.id for record in found.readable] == [SECOND]
    (sentence,) = found.unreadable.values()
    assert sentence.startswith(f"{runs.file(FIRST)} can't be read as the record of a run (")
    assert said in sentence
    assert "\n" not in sentence


def test_a_record_goes_by_the_name_of_its_folder(runs: Runs) -> None:
    runs.whole(FIRST)
    shutil.copytree(runs.file(FIRST).parent, runs.file("of a copy").parent)
    assert {record.id for record in records(runs)} == {FIRST, "of a copy"}


def test_a_folder_without_a_run_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: .* holds no run; give the folder"):
        read_records(OutputLayout(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_runs_that_wrote_no_record_are_not_listed_and_that_is_said(tmp_path: Path) -> None:
    OutputLayout(tmp_path).metadata.touch()
    with pytest.raises(InputError, match="only runs of earlier versions of this program"):
        read_records(OutputLayout(tmp_path))
