"""The whole DAG on Prism, Beam's runner in Go, with each fault that can befall it on the way.

`make test-portable` builds Prism and runs this; $CXR_PRISM names the program.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import cli
from tests.pipeline.portable_sessions import (
    BEAM_PIPELINES,
    Attempt,
    assert_same_as_direct,
    run_session,
)

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

PRISM = os.environ.get("CXR_PRISM", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not PRISM, reason="needs Prism: make test-portable builds it, with Go"),
]

# Each goes on in the folder of the one before, and the last has to finish.
ATTEMPTS = [
    "wrong_port",
    "no_pool",
    "pool_of_other_code",
    "pool_of_another_python",
    "worker_killed",
    "jobs_killed",
    "pool_killed",
    "whole",
]
JOBS = "localhost:8173"
POOL = "localhost:50000"
NOBODYS = "localhost:8174"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the session."""
    return tmp_path_factory.mktemp("prism")


@pytest.fixture(scope="module")
def attempts(folder: Path, golden: GoldenRun) -> dict[str, Attempt]:
    """All of them, one after the other."""
    return run_session(folder, golden, ATTEMPTS, PRISM)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        ("wrong_port", f"there is no Beam job service at {NOBODYS}: nothing answers there"),
        ("no_pool", f"there is no worker pool at {POOL}: nothing answers there"),
        ("pool_of_other_code", f"the worker pool at {POOL} is in another environment than this"),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(
    attempts: dict[str, Attempt], attempt: str, said: str
) -> None:
    ended = attempts[attempt]
    assert ended.exit_code == cli.EXIT_INPUT
    assert f"cxr: beam: {said}" in ended.sentence
    assert "executed" not in ended.printed


def test_a_pool_whose_python_is_another_is_said_with_the_command_that_helps(
    attempts: dict[str, Attempt],
) -> None:
    ended = attempts["pool_of_another_python"]
    assert ended.exit_code == cli.EXIT_INPUT
    assert f"cxr: beam: no worker of the pool at {POOL} came up for" in ended.sentence
    assert "cxr beam worker-pool --port 50000`, and run again" in ended.sentence


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        ("worker_killed", f"a worker of the pool at {POOL} died while"),
        ("jobs_killed", f"the job service at {JOBS} went while"),
        ("pool_killed", f"the worker pool at {POOL} went while"),
    ],
)
def test_what_went_is_named_with_the_node(
    attempts: dict[str, Attempt], attempt: str, said: str
) -> None:
    ended = attempts[attempt]
    assert ended.exit_code == cli.EXIT_INPUT
    assert f"cxr: beam: {said}" in ended.sentence
    assert "StatisticsGen ran" in ended.sentence


def test_the_run_after_all_faults_goes_on_and_finds_what_direct_finds(
    attempts: dict[str, Attempt], folder: Path, golden: GoldenRun
) -> None:
    whole = attempts["whole"]
    assert whole.exit_code == cli.EXIT_PUSHED, whole.printed
    assert_same_as_direct(folder / "portable", golden)
    # RadiographExampleGen's two were finished in the run whose worker was killed.
    assert whole.workers == BEAM_PIPELINES - 2
