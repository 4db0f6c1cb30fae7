"""The pool of `cxr beam worker-pool`: starts Beam's workers where a runner asks for them.

Beam has one of its own (`apache_beam.runners.worker.worker_pool_main`). That one listens on every
address of the machine, starts whatever `python` is first on PATH, keeps what its workers print from
everybody, and doesn't say when one has died.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from common.errors import InputError
from pipeline.beam.pool_state import (
    ENVIRONMENT,
    SERVICE,
    WORKERS,
    Death,
    PoolWorkers,
    environment,
    how_it_ended,
)

_ROOT: Final = Path(__file__).parents[2]
# For a worker to end after SIGTERM, before it is killed.
_SECONDS_TO_END: Final = 10
_THREADS: Final = 8

Say = Callable[[str], None]


@dataclass
class _Worker:
    """A process, and what it is to the pool.

    Attributes:
        process: of the worker.
        number: how many had been started before it.
        sent: the last signal that the pool sent it; 0 for none.
    """

    process: subprocess.Popen[bytes]
    number: int
    sent: int = 0

    def end(self) -> None:
        """End the worker; return when it has ended."""
        self.sent = signal.SIGTERM
        self.process.terminate()
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.sent = signal.SIGKILL
            self.process.kill()
            self.process.wait()

    def died(self, status: int) -> bool:
        """Return whether it ended by itself, and not well."""
        if self.sent:
            # A runner stops a worker that has just been killed, too.
            return status < 0 and status != -self.sent
        return status != 0


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A service that starts and stops workers: processes of this Python, with this code."""

    def __init__(self, say: Say) -> None:
        """Start without a worker.

        Args:
            say: is told of each worker that starts, stops or dies, in a sentence.
        """
        self._say = say
        self._name = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        self._started = 0
        self._died: list[Death] = []

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - Beam's name
        """Answer at once; the worker connects to the runner by itself."""
        name, endpoint = request.worker_id, request.control_endpoint.url
        # -W: Google's libraries announce the end of Python 3.10 at every start.
        command = [sys.executable, "-W", "ignore::FutureWarning", "-m", "pipeline.beam.worker"]
        try:
            process = subprocess.Popen(
                [*command, endpoint, name],
                stdin=subprocess.DEVNULL,
                # Beside what it says of errors. Beam's pool has a pipe here that is never read.
                stdout=sys.stderr,
                # So that its code is this one's, wherever the pool was started.
                cwd=_ROOT,
            )
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"no worker can be started: {error}")
        with self._lock:
            # A runner that was started again may count from the beginning.
            abandoned = self._workers.get(name)
            self._workers[name] = worker = _Worker(process, self._started)
            self._started += 1
        if abandoned:
            abandoned.end()
        self._say(f"worker {name} started as process {process.pid}, for {endpoint}")
        threading.Thread(target=self._wait_for, args=(name, worker), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - Beam's name
        """Answer when it has ended. One that isn't there is none to stop."""
        with self._lock:
            worker = self._workers.pop(request.worker_id, None)
        if worker:
            worker.end()
            self._say(f"worker {request.worker_id} stopped")
        return beam_fn_api_pb2.StopWorkerResponse()

    def workers(self, request: bytes, context: Any) -> bytes:
        """Return what became of the workers, to any process that asks."""
        with self._lock:
            return PoolWorkers(self._name, self._started, tuple(self._died)).to_bytes()

    def environment(self, request: bytes, context: Any) -> bytes:
        """Return what the workers run in, to any process that asks."""
        return json.dumps(environment()).encode()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._workers.values())
            self._workers.clear()
        for worker in workers:
            worker.end()

    def _wait_for(self, name: str, worker: _Worker) -> None:
        status = worker.process.wait()
        with self._lock:
            if self._workers.get(name) is worker:
                del self._workers[name]
            if not worker.died(status):
                return
            self._died.append(Death(worker.number, status, self._started))
        self._say(f"worker {name} died ({how_it_ended(status)})")


def start_pool(host: str, port: int, say: Say) -> tuple[WorkerPool, grpc.Server, int]:
    """Start to listen.

    Args:
        host: whose addresses to listen on; `localhost` is loopback.
        port: 0 for any that is free.
        say: see `WorkerPool`.

    Returns:
        The pool, its server, which is the caller's to stop, and the port.

    Raises:
        InputError: the address can't be had.
    """
    pool = WorkerPool(say)
    # Without the option, a second pool would get the same port, and every other request.
    options = [("grpc.so_reuseport", 0), ("grpc.http2.max_pings_without_data", 0)]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=options)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(method)
        for name, method in ((WORKERS, pool.workers), (ENVIRONMENT, pool.environment))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise InputError(
            f"port: nothing can listen on {host}:{port}; end what does, or give another --port."
        ) from error
    server.start()
    return pool, server, port


def serve_pool(host: str, port: int, say: Say) -> None:
    """Be a pool until a signal ends it (SIGINT, SIGTERM), and end the workers then.

    Raises:
        InputError: the address can't be had.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    pool, server, port = start_pool(host, port, say)
    say(
        f"worker pool at {host}:{port}, its workers run {sys.executable}; what they say of errors "
        "comes here, too. Ctrl-C ends all"
    )
    ended.wait()
    server.stop(grace=None)
    pool.close()
