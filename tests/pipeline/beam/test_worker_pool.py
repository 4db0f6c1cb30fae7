"""`cxr beam worker-pool`: where it listens, what it starts, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from common.errors import InputError
from pipeline.beam.pool_state import PoolWorkers, environment_from_bytes, how_it_ended
from pipeline.beam.worker_pool import _Worker, start_pool
from tests.pipeline.beam_place import made_place

ROOT = Path(__file__).parents[3]


def test_the_pool_listens_on_loopback_alone_and_alone_on_its_port() -> None:
    with made_place() as place:
        _assert_on_loopback(place.pool)


def _assert_on_loopback(address: str) -> None:
    port = int(address.rpartition(":")[2])
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


@pytest.mark.parametrize(
    ("sent", "status", "died"),
    [
        (0, 0, False),
        (0, 1, True),
        (0, -9, True),
        (15, -15, False),
        (15, 1, False),
        (15, -9, True),  # killed, and stopped by the runner for that
        (9, -9, False),
    ],
)
def test_who_died_and_who_was_ended(sent: int, status: int, died: bool) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert _Worker(process, 0, sent).died(status) == died


def test_the_command_starts_workers_of_its_own_python_and_ends_them(tmp_path: Path) -> None:
    """Where PATH has no `python` at all, and the working folder is any."""
    command = [sys.executable, "-m", "pipeline.cli", "beam", "worker-pool", "--port", "0"]
    environment = os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pool = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert pool.stderr
        started = next(line for line in pool.stderr if "worker pool at" in line)
        assert f"its workers run {sys.executable};" in started
        address = started.split("worker pool at ")[1].split(",")[0]
        with grpc.insecure_channel(address) as channel:
            stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
            request = beam_fn_api_pb2.StartWorkerRequest(worker_id="one")
            request.control_endpoint.url = "localhost:1"
            assert stub.StartWorker(request).error == ""
        said = next(line for line in pool.stderr if "worker one started" in line)
        worker = int(said.split("process ")[1].split(",")[0])
        cmdline = Path(f"/proc/{worker}/cmdline").read_bytes().decode().split("\0")
        assert cmdline[0] == sys.executable
        assert cmdline[-4:-1] == ["pipeline.beam.worker", "localhost:1", "one"]
        assert Path(f"/proc/{worker}/cwd").resolve() == ROOT
        pool.send_signal(signal.SIGTERM)
        pool.stderr.read()
        assert pool.wait(60) == 0
        assert not Path(f"/proc/{worker}").exists()
    finally:
        pool.kill()
        pool.wait()
