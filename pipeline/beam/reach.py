"""The services of `--beam portable:…`: asked before a run, and where a node failed.

Beam itself says of a service that is gone what gRPC says of a socket, and of a worker that died
whatever its runner makes of it. Here they are asked, and the answer is a sentence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from common.errors import InputError
from pipeline.beam.pool_state import (
    ENVIRONMENT,
    SERVICE,
    WORKERS,
    PoolWorkers,
    differences,
    environment,
    environment_from_bytes,
    how_it_ended,
)
from pipeline.config.beam import BeamPlan, pool_command, require_complete, require_known

if TYPE_CHECKING:
    import grpc

Said = TypeVar("Said")

_SECONDS: Final = 20.0
_SECONDS_TO_DIE: Final = 5.0
# Beam starts a job service itself, which can't be asked before.
_EMBEDDED: Final = "embed"
_LOOPBACK: Final = re.compile(r"(localhost|127\.[\d.]+|\[::1\]):\d+")
_START_AGAIN: Final = "Start it again"
# What Prism says where no worker came up, and where one went.
_NO_WORKER: Final = "control connection"
_WORKER_WENT: Final = "worker disconnected"
_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")


@dataclass(frozen=True)
class Services:
    """The services that a run's Beam nodes need elsewhere.

    Attributes:
        jobs: address of the job service.
        pool: address of the worker pool; None where it can't be asked from here, as the runner is
            on another machine, or takes its workers from elsewhere.
        workers: of the pool, when the run began; None where it is Beam's own, which can't say.
    """

    jobs: str
    pool: str | None
    workers: PoolWorkers | None


def require_services(plan: BeamPlan) -> Services | None:
    """Ask job service and pool. Import Beam where there is one to ask.

    Returns:
        What was found; None where Beam's nodes need none, or Beam starts it.

    Raises:
        InputError: one doesn't answer, the pool is in another environment than this process, or
            the options are wrong, without which no question makes sense.
    """
    values = plan.values
    jobs = values.get("job_endpoint")
    if plan.engine != "portable" or not jobs or jobs == _EMBEDDED:
        return None
    require_complete(plan)
    require_known(plan.arguments)
    if problem := _ask_jobs(jobs):
        raise InputError(
            f"beam: there is no Beam job service at {jobs}: {problem}. Start it, or give the "
            "address that it names at its start (portable:HOST:PORT)."
        )
    pool = values.get("environment_config")
    external = values.get("environment_type") == "EXTERNAL"
    if not (external and pool and _LOOPBACK.fullmatch(pool) and _LOOPBACK.fullmatch(jobs)):
        return Services(jobs, None, None)
    if problem := ask_pool(pool):
        raise InputError(
            f"beam: there is no worker pool at {pool}: {problem}. Start {_start_pool(pool)}, or "
            "say where it is (beam_args: --environment_config=HOST:PORT)."
        )
    workers = workers_of(pool)
    there = _own(pool, ENVIRONMENT, environment_from_bytes)
    if there and (differing := differences(there, environment())):
        raise InputError(
            f"beam: the worker pool at {pool} is in another environment than this run "
            f"({'; '.join(differing)}). End it, and start {_start_pool(pool)}."
        )
    return Services(jobs, pool, workers)


def what_is_gone(services: Services | None, node: str | None, said: str) -> InputError | None:
    """Say that a service or a worker went, where a node failed because of that; else None.

    Args:
        services: as they were when the run began.
        node: that failed.
        said: what Beam says of it.
    """
    if services is None:
        return None
    jobs, pool = services.jobs, services.pool
    gone = [f"the job service at {jobs}"] if _ask_jobs(jobs) else []
    if pool and ask_pool(pool):
        gone.append(f"the worker pool at {pool}")
    if gone:
        return _gone(f"{' and '.join(gone)} went while {_who(node)} ran", _START_AGAIN)
    of_pool = f"the pool at {pool}" if pool else "the runner's worker pool"
    where_to_look = f"what {of_pool} printed says more"
    # The runner may notice before the system has done away with the process.
    dying = services.workers is not None and _WORKER_WENT in said
    waiting_until = time.monotonic() + (_SECONDS_TO_DIE if dying else 0)
    while True:
        if found := _of_our_pool(services, node):
            return found
        if time.monotonic() >= waiting_until:
            break
        time.sleep(0.1)
    # A pool of ours was asked at the start: what it lacks, this process lacks, too.
    if services.workers is None and (missing := _NO_MODULE.search(said)):
        return _gone(
            f"a worker of {of_pool} has no module {missing[1]}, which {_who(node)} needs: the pool "
            "is in another environment than this run",
            f"End it, start {_start_pool(pool)}",
        )
    if _NO_WORKER in said:
        return _gone(
            f"no worker of {of_pool} came up for {_who(node)}; {where_to_look}. Beam's own pool "
            "starts whatever `python` is first on its PATH",
            f"End it, start {_start_pool(pool)}",
        )
    if _WORKER_WENT in said:
        return _gone(f"a worker of {of_pool} went while {_who(node)} ran; {where_to_look}")
    return None


def _of_our_pool(services: Services, node: str | None) -> InputError | None:
    """Say what our own pool knows of its workers."""
    before, pool = services.workers, services.pool
    now = workers_of(pool) if before and pool else None
    if before is None or now is None:
        return None
    if now.pool != before.pool:
        return _gone(
            f"the worker pool at {pool} ended while {_who(node)} ran, and another is there now"
        )
    status = now.lost_since(before)
    if status is None:
        return None
    return _gone(
        f"a worker of the pool at {pool} died while {_who(node)} ran ({how_it_ended(status)}); "
        "what the pool printed says more"
    )


def _gone(what: str, do: str = "") -> InputError:
    again = f"{do}, and run" if do else "Run"
    return InputError(f"beam: {what}. {again} again: what is done comes from the cache.")


def _start_pool(pool: str | None) -> str:
    """Write the command, for the port where the run looks for the pool."""
    _, _, port = (pool or "").rpartition(":")
    return f"`{pool_command(port)}`"


def _who(node: str | None) -> str:
    return node or "the runner"


def _ask_jobs(address: str) -> str:
    """Say why it is no job service; empty where it is one."""
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    # The first thing that Beam's client asks, too.
    request = beam_job_api_pb2.DescribePipelineOptionsRequest()
    return _problem(
        address,
        lambda channel: beam_job_api_pb2_grpc.JobServiceStub(channel).DescribePipelineOptions(
            request, timeout=_SECONDS
        ),
    )


def ask_pool(address: str) -> str:
    """Say why it is no worker pool; empty where it is one."""
    from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

    # One that isn't there is none to stop, and the pool says so.
    request = beam_fn_api_pb2.StopWorkerRequest(worker_id="of cxr, which only asks")
    return _problem(
        address,
        lambda channel: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel).StopWorker(
            request, timeout=_SECONDS
        ),
    )


def workers_of(pool: str) -> PoolWorkers | None:
    """Ask what became of a pool's workers; None where it is Beam's own or another's, or gone."""
    return _own(pool, WORKERS, PoolWorkers.from_bytes)


def _own(pool: str, method: str, read: Callable[[bytes], Said]) -> Said | None:
    """Ask what only a pool of ours answers."""
    found: list[bytes] = []

    def ask(channel: grpc.Channel) -> None:
        call: Any = channel.unary_unary(f"/{SERVICE}/{method}")
        found.append(call(b"", timeout=_SECONDS))

    if _problem(pool, ask):
        return None
    try:
        return read(found[0])
    except ValueError:
        return None


def _problem(address: str, ask: Callable[[grpc.Channel], object]) -> str:
    """Say what stands between us and the service; empty where it answers."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            ask(channel)
        except grpc.RpcError as error:
            code = error.code()
            if code == grpc.StatusCode.UNAVAILABLE:
                return "nothing answers there, or not in Beam's protocol"
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"what listens there gave no answer in {_SECONDS:.0f} s"
            if code == grpc.StatusCode.UNIMPLEMENTED:
                return "what listens there is another service"
            return f"{code.name}: {error.details()}"
    return ""
