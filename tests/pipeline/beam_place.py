"""A job service that only answers, and a worker pool of ours, both in this process, on loopback."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
)

from pipeline.beam.reach import Services, require_services, workers_of
from pipeline.beam.worker_pool import WorkerPool, start_pool
from pipeline.config.beam import plan_beam
from tests.serving.in_thread import until


class _Jobs(beam_job_api_pb2_grpc.JobServiceServicer):
    """As much of a job service as a client asks first."""

    def DescribePipelineOptions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return beam_job_api_pb2.DescribePipelineOptionsResponse()


class BeamsOwnPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """As Beam's own pool: it can't say what became of its workers."""

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        return beam_fn_api_pb2.StopWorkerResponse()


@dataclass
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

        def is_known() -> bool:
            now = workers_of(self.pool)
            return now is not None and bool(now.died)

        until(is_known)


def require(jobs: str, pool: str, *options: str) -> Services | None:
    """As a run does at its start."""
    own = [f"--environment_config={pool}", *options]
    return require_services(plan_beam(f"portable:{jobs}", own))


@contextmanager
def served(add: Callable[[grpc.Server], None]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A server with what `add` adds: its address, and what ends it."""
    server = grpc.server(ThreadPoolExecutor(2))
    add(server)
    port = server.add_insecure_port("localhost:0")
    server.start()

    def end() -> None:
        server.stop(None).wait()

    yield f"localhost:{port}", end
    end()


@contextmanager
def made_jobs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """A job service: its address, and what ends it."""
    add = beam_job_api_pb2_grpc.add_JobServiceServicer_to_server
    with served(lambda server: add(_Jobs(), server)) as found:
        yield found


@contextmanager
def made_place() -> Iterator[Place]:
    """Both, on ports of their own."""
    said: list[str] = []
    with made_jobs() as (jobs, end_jobs):
        workers, listening, port = start_pool("localhost", 0, said.append)

        def end_pool() -> None:
            listening.stop(None).wait()

        yield Place(jobs, f"localhost:{port}", workers, said, end_jobs, end_pool)
        end_pool()
        workers.close()
