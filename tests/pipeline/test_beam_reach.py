"""What a run says where Beam's services aren't there, are others than it needs, or went."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
)
from apache_beam.runners.portability import portable_runner

from pipeline import beam_pool_state, beam_watch
from pipeline.beam_config import plan_beam
from pipeline.beam_pool_state import (
    Death,
    PoolWorkers,
    environment,
    environment_from_bytes,
    how_it_ended,
)
from pipeline.beam_reach import Services, require_services, what_is_gone, workers_of
from pipeline.beam_watch import WorkerGoneError, watching
from pipeline.beam_worker_pool import WorkerPool, start_pool
from schema.errors import InputError

NODE = "Featurizer.vgg16"


class _Jobs(beam_job_api_pb2_grpc.JobServiceServicer):
    """As much of a job service as a client asks first."""

    def DescribePipelineOptions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return beam_job_api_pb2.DescribePipelineOptionsResponse()


class _BeamsOwnPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """As Beam's own pool: it can't say what became of its workers."""

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        return beam_fn_api_pb2.StopWorkerResponse()


@dataclasses.dataclass
class Place:
    """A job service and a pool, on loopback, that a test may end.

    Attributes:
        jobs: address of the service.
        pool: address of the pool.
        workers: the pool itself.
        said: what it said.
        end_jobs: ends the service.
        end_pool: ends the pool.
    """

    jobs: str
    pool: str
    workers: WorkerPool
    said: list[str]
    end_jobs: Callable[[], Any]
    end_pool: Callable[[], Any]

    def services(self) -> Services:
        """As a run finds them."""
        found = require(self.jobs, self.pool)
        assert found is not None
        return found

    def start_worker(self) -> int:
        """Returns its process; it has no runner to connect to."""
        with grpc.insecure_channel(self.pool) as channel:
            stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
            request = beam_fn_api_pb2.StartWorkerRequest(worker_id="worker")
            request.control_endpoint.url = "localhost:1"
            assert stub.StartWorker(request).error == ""
        return int(self.said[-1].split("process ")[1].split(",")[0])

    def kill_worker(self) -> None:
        """One that was started; returns when the pool knows of it."""
        os.kill(self.start_worker(), signal.SIGKILL)
        died = threading.Event()
        while not died.wait(0.02):
            now = workers_of(self.pool)
            if now and now.died:
                died.set()


def require(jobs: str, pool: str, *options: str) -> Services | None:
    """As a run does at its start."""
    own = [f"--environment_config={pool}", *options]
    return require_services(plan_beam(f"portable:{jobs}", own))


@contextmanager
def _server(add: Callable[[grpc.Server], None]) -> Iterator[tuple[str, Callable[[], Any]]]:
    server = grpc.server(ThreadPoolExecutor(2))
    add(server)
    port = server.add_insecure_port("localhost:0")
    server.start()

    def end() -> None:
        server.stop(None).wait()

    yield f"localhost:{port}", end
    end()


@contextmanager
def _jobs() -> Iterator[tuple[str, Callable[[], Any]]]:
    with _server(
        lambda server: beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(_Jobs(), server)
    ) as found:
        yield found


@pytest.fixture
def place() -> Iterator[Place]:
    """Both, on ports of their own."""
    said: list[str] = []
    with _jobs() as (jobs, end_jobs):
        workers, server, port = start_pool("localhost", 0, said.append)
        end_pool = lambda: server.stop(None).wait()  # noqa: E731
        yield Place(jobs, f"localhost:{port}", workers, said, end_jobs, end_pool)
        end_pool()
        workers.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with _jobs() as (address, end):
        end()
        yield address


def test_services_that_are_there_are_found(place: Place) -> None:
    found = place.services()
    assert (found.jobs, found.pool) == (place.jobs, place.pool)
    assert found.workers is not None
    assert found.workers.died == ()
    assert what_is_gone(found, NODE, "ValueError: a node's own mistake") is None


@pytest.mark.parametrize("beam", ["direct", "multi", "flink:host", "dataflow:my-project"])
def test_where_beam_has_no_services_of_its_own_nobody_is_asked(beam: str) -> None:
    assert require_services(plan_beam(beam)) is None
    assert what_is_gone(None, NODE, "anything") is None
    with watching(None):
        pass


def test_a_wrong_port_is_named_before_anything_runs(place: Place, nobody: str) -> None:
    with pytest.raises(InputError, match=f"no Beam job service at {nobody}: nothing answers"):
        require(nobody, place.pool)


def test_a_port_of_something_else_is_named(place: Place) -> None:
    with pytest.raises(InputError, match=f"job service at {place.pool}: .* another service"):
        require(place.pool, place.pool)
    with pytest.raises(InputError, match=f"worker pool at {place.jobs}: .* another service"):
        require(place.jobs, place.jobs)
    page = HTTPServer(("localhost", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match=r"or not in Beam's protocol\. Start it"):
            require(f"localhost:{page.server_port}", place.pool)
    finally:
        page.shutdown()
        page.server_close()


def test_a_pool_that_is_not_there_is_named_with_the_command(place: Place, nobody: str) -> None:
    with pytest.raises(InputError, match=f"pool at {nobody}: .*Start `cxr beam worker-pool`"):
        require(place.jobs, nobody)


def test_options_that_beam_does_not_know_come_first(nobody: str) -> None:
    with pytest.raises(InputError, match="no option --environment_confg"):
        require(nobody, nobody, "--environment_confg=x")


@pytest.mark.parametrize(
    "options", [["--environment_type=LOOPBACK"], ["--environment_config=elsewhere.example:50000"]]
)
def test_a_pool_elsewhere_is_not_asked(place: Place, options: list[str]) -> None:
    found = require(place.jobs, place.pool, *options)
    assert found == Services(place.jobs, None, None)
    # Nothing is watched, either.
    wait = portable_runner.PipelineResult.wait_until_finish
    with watching(found):
        assert portable_runner.PipelineResult.wait_until_finish is wait


def test_a_pool_in_another_environment_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment()
    there = here | {"Python": "3.99", "tfx": "0.1"}
    monkeypatch.setattr("pipeline.beam_worker_pool.environment", lambda: there)
    with pytest.raises(InputError) as refused:
        require(place.jobs, place.pool)
    said = str(refused.value)
    assert f"Python 3.99 there and {here['Python']} here; tfx 0.1 there and" in said
    assert "numpy" not in said
    assert "End it, and start `cxr beam worker-pool`" in said


def test_the_environment_follows_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment()
    assert before == environment()
    assert "none" not in before.values()
    monkeypatch.setattr(beam_pool_state, "_CODE", ("schema",))
    assert environment() != before


def test_beams_own_pool_is_taken_as_it_is(place: Place) -> None:
    add = beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server
    with _server(lambda server: add(_BeamsOwnPool(), server)) as (pool, end):
        found = require(place.jobs, pool)
        assert found == Services(place.jobs, pool, None)
        assert what_is_gone(found, NODE, "ValueError") is None
        # All that one has is what the runner says.
        for said, sentence in (
            ("job failed: didn't get control connection to worker", f"no worker of .*{pool} came"),
            ("SDK worker disconnected: worker[a], 1 active", f"a worker of .*{pool} went while"),
            ("ModuleNotFoundError: No module named 'components'", "has no module components"),
        ):
            gone = what_is_gone(found, NODE, said)
            assert gone is not None
            with pytest.raises(InputError, match=sentence):
                raise gone
            assert NODE in str(gone)
        end()
        assert f"the worker pool at {pool} went" in str(what_is_gone(found, NODE, ""))


def test_what_went_is_named_with_the_node_and_what_to_do(place: Place) -> None:
    services = place.services()
    place.end_jobs()
    gone = str(what_is_gone(services, NODE, "<_MultiThreadedRendezvous of RPC that …>"))
    assert f"the job service at {place.jobs} went while {NODE} ran. Start it again, and run" in gone
    assert gone.endswith("run again: what is done comes from the cache.")
    assert "pool" not in gone
    place.end_pool()
    gone = str(what_is_gone(services, NODE, ""))
    assert f"the job service at {place.jobs} and the worker pool at {place.pool} went" in gone


def test_a_killed_worker_is_named_with_its_signal(place: Place) -> None:
    services = place.services()
    place.kill_worker()
    gone = str(what_is_gone(services, NODE, "whatever the runner makes of it"))
    assert f"a worker of the pool at {place.pool} died while {NODE} ran (signal SIGKILL, as" in gone
    assert any("worker died (signal SIGKILL" in said for said in place.said)
    # The next run starts from there.
    assert what_is_gone(place.services(), NODE, "ValueError") is None


def test_a_worker_that_the_runner_replaced_is_no_reason(place: Place) -> None:
    services = place.services()
    place.kill_worker()
    place.start_worker()
    assert what_is_gone(services, NODE, "ValueError") is None


@pytest.mark.parametrize(
    ("started", "died", "lost"),
    [
        (3, [], None),
        (3, [(0, -9, 3)], None),  # of an earlier run, whenever it dies
        (3, [(2, -9, 3)], -9),
        (4, [(2, -9, 3)], None),  # replaced
        (4, [(2, 1, 3), (3, -9, 4)], -9),
        (4, [(3, -9, 4), (1, 1, 4)], -9),
    ],
)
def test_which_death_matters_to_a_run(
    started: int, died: list[tuple[int, int, int]], lost: int | None
) -> None:
    before = PoolWorkers("pool", 2, ())
    now = PoolWorkers("pool", started, tuple(Death(*death) for death in died))
    assert now.lost_since(before) == lost
    assert PoolWorkers.from_bytes(now.to_bytes()) == now


def test_a_stopped_worker_did_not_die(place: Place) -> None:
    services = place.services()
    process = place.start_worker()
    with grpc.insecure_channel(place.pool) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="worker"))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert workers_of(place.pool) == dataclasses.replace(services.workers, started=1)


def test_another_pool_at_the_address_is_noticed(place: Place) -> None:
    services = place.services()
    place.workers._name = "another"
    gone = str(what_is_gone(services, NODE, ""))
    assert f"the worker pool at {place.pool} ended while {NODE} ran, and another is there" in gone


# --- While a job is under way ------------------------------------------------------------


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


# --- The pool itself -----------------------------------------------------------------------


def test_the_pool_listens_on_loopback_alone_and_alone_on_its_port(place: Place) -> None:
    port = int(place.pool.rpartition(":")[2])
    listening = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:  # noqa: PTH123
            for line in lines:
                local, state = line.split()[1], line.split()[3]
                if state == "0A" and local.endswith(f":{port:04X}"):
                    listening.add(local.partition(":")[0])
    # 127.0.0.1, the same in IPv6, and ::1, as the kernel writes them.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert listening
    assert listening <= loopback
    with pytest.raises(InputError, match=f"nothing can listen on localhost:{port}"):
        start_pool("localhost", port, print)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (3, "exit status 3"),
        (-9, "signal SIGKILL, as the system sends where memory is short"),
        (-11, "signal SIGSEGV"),
        (-40, "signal 40"),
    ],
)
def test_how_a_worker_ended(status: int, said: str) -> None:
    assert how_it_ended(status) == said


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"pool": "a", "died": 1}', b'{"died": [[1]]}', b"\xff"]
)
def test_what_is_no_answer_of_a_pool(content: bytes) -> None:
    with pytest.raises(ValueError):
        PoolWorkers.from_bytes(content)
    if not content.startswith(b"{"):
        with pytest.raises(ValueError):
            environment_from_bytes(content)
