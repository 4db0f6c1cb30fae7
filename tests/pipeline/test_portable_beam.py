"""A run whose Beam nodes are on Beam's own job service, in workers of our pool.

A whole run on a job service, Prism's, is in test_prism.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import cli
from tests.pipeline.portable_sessions import Attempt, run_session

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the session."""
    return tmp_path_factory.mktemp("portable")


@pytest.fixture(scope="module")
def attempts(folder: Path, golden: GoldenRun) -> dict[str, Attempt]:
    """A run whose worker is killed."""
    return run_session(folder, golden, ["worker_killed"])


def test_a_killed_worker_ends_the_run_though_the_job_service_waits_for_it(
    attempts: dict[str, Attempt],
) -> None:
    killed = attempts["worker_killed"]
    assert killed.exit_code == cli.EXIT_INPUT
    assert "cxr: beam: a worker of the pool at localhost:50000 died while" in killed.sentence
    assert "signal SIGKILL" in killed.sentence
