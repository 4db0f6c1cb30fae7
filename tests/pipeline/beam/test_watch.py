"""A wait for a job ends where its worker died, or the pool went; and else only with the job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.runners.portability import portable_runner

from pipeline.beam import watch as beam_watch
from pipeline.beam.watch import WorkerGoneError, watching
from tests.pipeline.beam_place import Place, made_place


@pytest.fixture
def place() -> Iterator[Place]:
    """A job service and a pool."""
    with made_place() as found:
        yield found


class _Result:
    """Of a job that never ends, unless it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Result]:
    """Beam's waiting waits for it, and is asked about every hundredth of a second."""
    job = _Result()

    def wait(self: _Result, duration: int | None = None) -> str:
        assert self.go.wait(60)
        if duration:
            raise RuntimeError("failed in Beam")
        return "DONE"

    monkeypatch.setattr(portable_runner.PipelineResult, "wait_until_finish", wait)
    monkeypatch.setattr(beam_watch, "_SECONDS_BETWEEN", 0.01)
    yield job
    job.go.set()


def _wait(result: _Result, *arguments: int) -> Any:
    return portable_runner.PipelineResult.wait_until_finish(result, *arguments)


def test_the_wait_ends_where_a_worker_died(place: Place, result: _Result) -> None:
    with watching(place.services(), grace=0.05):
        place.kill_worker()
        with pytest.raises(WorkerGoneError, match=f"a worker of the pool at {place.pool} died"):
            _wait(result)
    assert result.cancelled.wait(10)


def test_the_wait_ends_where_the_pool_went(place: Place, result: _Result) -> None:
    with watching(place.services(), grace=0.05):
        place.end_pool()
        with pytest.raises(WorkerGoneError, match=f"the worker pool at {place.pool} went"):
            _wait(result)


def test_the_wait_goes_on_where_all_is_well(place: Place, result: _Result) -> None:
    place.kill_worker()  # before the run: none of its business
    with watching(place.services(), grace=0.05):
        place.start_worker()
        threading.Timer(0.3, result.go.set).start()
        assert _wait(result) == "DONE"
        with pytest.raises(RuntimeError, match="failed in Beam"):
            _wait(result, 1)
    assert not result.cancelled.is_set()


def test_the_runner_has_time_to_replace_a_worker(place: Place, result: _Result) -> None:
    with watching(place.services(), grace=60):
        place.kill_worker()
        threading.Timer(0.3, result.go.set).start()
        assert _wait(result) == "DONE"
