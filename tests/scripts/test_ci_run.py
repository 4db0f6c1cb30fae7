""".ci/run: its jobs, and what it says of them, with jobs that do nothing in their place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.waits

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "run"
FIRST, THEN = ["set-up", "lint"], ["tests", "images", "long", "readme", "portable", "tfx-1.21"]
JOBS = [*FIRST, *THEN]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, in which each job only says its name, and what is in FAKE_<job>."""
    text = SCRIPT.read_text()
    marker = "# Only the functions"
    assert text.count(marker) == 1
    fakes = "".join(
        f'job_{name}() {{ echo "here is {name}"; eval "${{FAKE_{_variable(name)}:-true}}"; }}\n'
        for name in JOBS
    )
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_text(text.replace(marker, fakes + marker))
    return tmp_path


def _variable(job: str) -> str:
    return re.sub(r"\W", "_", job)


def _run(checkout: Path, *jobs: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "", ".ci/run", *jobs],
        cwd=checkout,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _table(run: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The rows of the table at the end, without seconds."""
    _, _, table = run.stdout.partition("job         seconds   tests\n")
    table, *_ = table.partition("\n\n")
    return [[part for n, part in enumerate(row.split()) if n != 1] for row in table.splitlines()]


def _begun(run: subprocess.CompletedProcess[str]) -> list[str]:
    said, _, _ = run.stdout.partition("job         seconds   tests\n")
    return re.findall(r"^here is (\S+)$", said, re.MULTILINE)


def test_each_job_runs_once(checkout: Path) -> None:
    run = _run(checkout, FAKE_tests="echo '== 12 passed, 1 skipped =='; echo '2 passed in 1 s'")
    assert run.returncode == 0, run.stdout + run.stderr
    begun = _begun(run)
    assert begun[:2] == FIRST
    assert sorted(begun) == sorted(JOBS)
    *rows, last = _table(run)
    assert sorted(rows) == sorted([name, "14" if name == "tests" else "–"] for name in JOBS)
    assert last == ["all"]


def test_two_lanes_are_under_way_at_once(checkout: Path) -> None:
    """Each waits for the other, which neither would live to see one behind the other."""
    wait = "touch {}; until [ -e {} ]; do sleep 0.05; done"
    run = _run(checkout, FAKE_tests=wait.format("a", "b"), FAKE_images=wait.format("b", "a"))
    assert run.returncode == 0, run.stdout + run.stderr
    # What a job says stands together.
    assert "=== tests\nhere is tests\n" in run.stdout


def test_a_lane_takes_what_the_other_has_not_begun(checkout: Path) -> None:
    """The first job ends when the last one has begun, to which only the other lane can come."""
    wait = f'until [ -e "$SCRATCH/{THEN[-1]}.log" ]; do sleep 0.05; done'
    run = _run(checkout, FAKE_tests=wait)
    assert run.returncode == 0, run.stdout + run.stderr
    assert sorted(_begun(run)) == sorted(JOBS)


def test_some_jobs(checkout: Path) -> None:
    run = _run(checkout, "lint", "tests")
    assert run.returncode == 0
    assert [row[0] for row in _table(run)] == ["lint", "tests", "all"]
    unknown = _run(checkout, "lint", "tets")
    assert unknown.returncode == 2
    assert "no job is called tets; there are set-up lint" in unknown.stderr
    assert "here is" not in unknown.stdout


@pytest.mark.parametrize("command", ["exit 3", "false; true"])
def test_behind_a_job_that_fails_none_begins(checkout: Path, command: str) -> None:
    wait = 'until [ -e "$SCRATCH/{}" ]; do sleep 0.05; done; '
    failing = wait.format("images-run") + f"echo '3 passed, 1 failed'; {command}"
    beside = 'touch "$SCRATCH/images-run"; ' + wait.format("failed")
    run = _run(checkout, FAKE_tests=failing, FAKE_images=beside)
    assert run.returncode == 1
    status = "3" if "3" in command else "1"
    assert f"=== tests: failed with {status} after" in run.stdout
    # What was under way beside it ends.
    assert _begun(run) == [*FIRST, "tests", "images"]
    assert ["tests", "3", "exit", "status", status] in _table(run)


def test_the_very_end_names_the_tests_that_failed(checkout: Path) -> None:
    """What is kept of a long output may be its end alone, and the job was not the last to speak."""
    said = "echo 'FAILED tests/a.py::test_one - assert 1 == 2'; seq 100; echo '1 failed'; exit 2"
    wait = 'until [ -e "$SCRATCH/{}" ]; do sleep 0.05; done; '
    beside = 'touch "$SCRATCH/images-run"; ' + wait.format("failed") + "seq 3000"
    run = _run(checkout, FAKE_tests=wait.format("images-run") + said, FAKE_images=beside)
    assert run.returncode == 1
    _, _, end = run.stdout.partition("\n=== tests failed:\n")
    assert end.splitlines()[0] == "FAILED tests/a.py::test_one - assert 1 == 2"
    assert end.splitlines()[-1] == "1 failed"
    assert "=== images failed" not in run.stdout


def test_where_the_set_up_fails_nothing_else_begins(checkout: Path) -> None:
    run = _run(checkout, FAKE_set_up="exit 1")
    assert run.returncode == 1
    assert _begun(run) == ["set-up"]


def test_running_out_of_time_is_a_failure_and_says_who_took_it(checkout: Path) -> None:
    run = _run(checkout, CXR_CI_SECONDS="2", FAKE_long="sleep 50")
    assert run.returncode == 1
    assert re.search(r"=== long: out of time after \d s; all jobs have 2 s", run.stdout)
    assert {"set-up", "lint", "tests", "long", "all"} <= {row[0] for row in _table(run)}
    # What is not reached is not passed over, either: nothing is left for the next one.
    late = _run(checkout, CXR_CI_SECONDS="0", FAKE_set_up="sleep 50")
    assert late.returncode == 1


def test_the_jobs_call_the_commands_of_the_readme() -> None:
    text = SCRIPT.read_text()
    for job, command in {
        "set-up": "make setup",
        "lint": "make lint",
        "tests": "make test",
        "long": "make test-long",
        "readme": "make run",
        "images": 'make run "DATA=',
        "portable": "make test-portable",
        "tfx-1.21": "scripts/trixie.sh make test",
    }.items():
        (body,) = re.findall(rf"^job_{re.escape(job)}\(\) \{{\n(.*?)^\}}", text, re.M | re.S)
        assert command in body


def test_what_is_tried_under_the_new_tfx_exists_and_covers_the_chain() -> None:
    run = subprocess.run(
        ["bash", "-c", 'source .ci/run; printf "%s\\n" "${TRIXIE_TESTS[@]}"'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    files = run.stdout.split()
    assert [name for name in files if not (ROOT / name).exists()] == []
    for part in ("schema", "example_gen", "evaluator", "pusher", "conformance", "compiler"):
        assert any(part in name for name in files), part
    # Transform, Trainer and all else between them.
    assert any("golden" in Path(ROOT, name).read_text() for name in files if name.endswith(".py"))
