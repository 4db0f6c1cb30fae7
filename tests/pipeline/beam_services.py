"""Runs `cxr run` beside a job service and a worker pool, with faults; for a network of its own.

    unshare --net --pid --fork --kill-child --mount-proc python beam_services.py SESSION.json

SESSION.json is a `portable_sessions.Session`. Prism and Beam's own services listen on every address
of the machine, so they are started in a network namespace that holds the loopback device alone; the
process namespace takes all with it at the end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Neither is the default of the other job service.
JOB_PORT = 8173
POOL_PORT = 50000
NOBODYS_PORT = 8174
_SECONDS = 900
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SERVICES = "apache_beam.runners"


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def _until(condition: Callable[[], object], process: subprocess.Popen[Any], what: str) -> None:
    """As long as the process lives."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"{what}: in vain, {process.args!r} gave {process.poll()}")
        time.sleep(0.1)


class Place:
    """Services, and one `cxr run` after the other."""

    def __init__(self, session: dict[str, Any]) -> None:
        self._logs = Path(session["logs"])
        self._prism: str = session["prism"]
        self._command: list[str] = session["command"]
        self._hold = self._logs / "hold"
        self._services: dict[str, subprocess.Popen[bytes]] = {}

    def jobs(self) -> None:
        """Start the job service, where it isn't there."""
        if self._prism:
            command = [self._prism, f"-job_port={JOB_PORT}", "-serve_http=false"]
        else:
            module = f"{_SERVICES}.portability.local_job_service_main"
            command = [sys.executable, "-W", "ignore", "-m", module, f"--job_port={JOB_PORT}"]
        self._start("jobs", JOB_PORT, command)

    def pool(self) -> None:
        """Start this project's pool, where it isn't there."""
        self._start("pool", POOL_PORT, self._pool_command())

    def attempt(self, name: str) -> dict[str, Any]:
        """What one run came to: exit code, what it printed, seconds, workers started meanwhile."""
        started, workers = time.monotonic(), self._workers()
        code, printed = getattr(self, name)()
        return {
            "exit_code": code,
            "printed": printed,
            "seconds": round(time.monotonic() - started, 1),
            "workers": self._workers() - workers,
        }

    # The attempts, by their names in a session.

    def whole(self) -> tuple[int, str]:
        """All is there."""
        self.jobs()
        self.pool()
        return self._end_of(self._run())

    def wrong_port(self) -> tuple[int, str]:
        """Where nobody listens."""
        self.jobs()
        self.pool()
        return self._end_of(self._run(NOBODYS_PORT))

    def no_pool(self) -> tuple[int, str]:
        """A job service alone."""
        self.jobs()
        self._kill("pool")
        return self._end_of(self._run())

    def pool_of_other_code(self) -> tuple[int, str]:
        """The pool is started in a checkout that isn't this one."""
        self.jobs()
        self._kill("pool")
        other = self._logs / "other checkout"
        for room in ("common", "components", "models", "pipeline", "schema", "serving"):
            shutil.copytree(ROOT / room, other / room)
        changed = other / "components" / "featurizer" / "executor.py"
        changed.write_text(f"{changed.read_text()}# Changed.\n")
        self._start("pool", POOL_PORT, self._pool_command(), other)
        try:
            return self._end_of(self._run())
        finally:
            self._kill("pool")

    def pool_of_another_python(self) -> tuple[int, str]:
        """Beam's own pool, where the first `python` on PATH is one that has no Beam."""
        self.jobs()
        self._kill("pool")
        python = self._logs / "bin" / "python"
        python.parent.mkdir()
        python.write_text("#!/bin/sh\necho \"No module named 'apache_beam'\" >&2\nexit 1\n")
        python.chmod(0o755)
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        module = f"{_SERVICES}.worker.worker_pool_main"
        command = [sys.executable, "-W", "ignore", "-m", module, f"--service_port={POOL_PORT}"]
        self._start("pool", POOL_PORT, command, PATH=path)
        try:
            return self._end_of(self._run())
        finally:
            self._kill("pool")

    def worker_killed(self) -> tuple[int, str]:
        """In the middle of a bundle, of the third pipeline: the first node is done."""
        return self._disturbed(lambda pid: os.kill(pid, signal.SIGKILL), workers=3)

    def jobs_killed(self) -> tuple[int, str]:
        """The job service, in the middle of the first bundle that isn't from the cache."""
        return self._disturbed(lambda _: self._kill("jobs"), workers=1)

    def pool_killed(self) -> tuple[int, str]:
        """The pool, likewise; its worker lives on."""
        return self._disturbed(lambda _: self._kill("pool"), workers=1)

    def _disturbed(self, disturb: Callable[[int], object], workers: int) -> tuple[int, str]:
        self.jobs()
        self.pool()
        before = self._workers()
        run = self._run()
        _until(lambda: self._workers() >= before + workers, run, "waiting for a worker")
        self._hold.touch()
        held = self._hold.with_suffix(".pid")
        pids: list[int] = []

        def is_held() -> bool:
            # Whoever is held next writes the file anew, and it is empty for a moment.
            if held.exists() and (pid := held.read_text()):
                pids.append(int(pid))
            return bool(pids)

        _until(is_held, run, "waiting for a bundle")
        disturb(pids[0])
        try:
            return self._end_of(run)
        finally:
            self._hold.unlink()
            held.unlink()

    def _pool_command(self) -> list[str]:
        cxr = [sys.executable, "-W", "ignore", "-m", "pipeline.cli"]
        return [*cxr, "beam", "worker-pool", f"--port={POOL_PORT}"]

    def _workers(self) -> int:
        log = self._logs / "pool.log"
        return log.read_text().count(" started as process ") if log.exists() else 0

    def _start(
        self, name: str, port: int, command: list[str], folder: Path = ROOT, **variables: str
    ) -> None:
        service = self._services.get(name)
        if service and service.poll() is None:
            return
        path = os.environ["PYTHONPATH"].replace(str(ROOT), str(folder))
        environment = {"CXR_TEST_HOLD": str(self._hold), "PYTHONPATH": path}
        with (self._logs / f"{name}.log").open("ab") as log:
            service = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | environment | variables,
                stdout=log,
                stderr=log,
            )
        self._services[name] = service
        _until(lambda: _listens(port), service, f"waiting for {name}")

    def _kill(self, name: str) -> None:
        service = self._services.pop(name, None)
        if service:
            service.kill()
            service.wait()

    def _run(self, port: int = JOB_PORT) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, "--beam", f"portable:localhost:{port}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _end_of(self, run: subprocess.Popen[str]) -> tuple[int, str]:
        printed, _ = run.communicate()
        return run.returncode, printed


def main(file: Path) -> None:
    """Write what each attempt came to into the file that the session names."""
    _raise_loopback()
    session = json.loads(file.read_text())
    place = Place(session)
    outcomes = {name: place.attempt(name) for name in session["attempts"]}
    Path(session["outcomes"]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
