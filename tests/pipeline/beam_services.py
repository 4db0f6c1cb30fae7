"""Runs a command beside Beam's own job service and worker pool; for a network of its own.

    unshare --net --pid --fork --kill-child --mount-proc python beam_services.py LOGS COMMAND…

The pool listens on every address of the machine, so it is started in a network namespace
that holds the loopback device alone; the process namespace takes all with it at the end.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

JOB_PORT = 8099
POOL_PORT = 50000
_SECONDS = 180
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))


def _service(logs: Path, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    with (logs / f"{module.rpartition('.')[2]}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _await(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit(f"nothing listens on {port}: {service.args!r}")


def main(logs: Path, command: list[str]) -> int:
    """The command's exit code."""
    _raise_loopback()
    # The pool starts its workers as `python`.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    runners = "apache_beam.runners"
    jobs = _service(logs, f"{runners}.portability.local_job_service_main", f"--job_port={JOB_PORT}")
    pool = _service(logs, f"{runners}.worker.worker_pool_main", f"--service_port={POOL_PORT}")
    _await(JOB_PORT, jobs)
    _await(POOL_PORT, pool)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
