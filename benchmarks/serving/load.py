"""Clients that ask as fast as they get answers, and what they measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

_TIMEOUT_S = 120


@dataclass(frozen=True)
class Load:
    """The figures that some clients measured.

    Attributes:
        clients: that asked at the same time.
        seconds: from the first request to the last answer.
        latencies: seconds of each request that was answered with 200.
        refused: answered with 429.
        failed: everything else.
    """

    clients: int
    seconds: float
    latencies: tuple[float, ...]
    refused: int = 0
    failed: int = 0

    @property
    def throughput(self) -> float:
        """Images a second; a request is an image."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Find the seconds in which that share (0..100) of the requests were answered."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


def in_a_loop(call: Callable[[bytes], object], contents: Sequence[bytes], seconds: float) -> Load:
    """Ask as one caller, image by image."""
    latencies: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        call(contents[len(latencies) % len(contents)])
        latencies.append(time.perf_counter() - started)
    return Load(1, time.perf_counter() - began, tuple(latencies))


class _Client(threading.Thread):
    def __init__(self, url: str, bodies: Sequence[bytes], first: int, until: float) -> None:
        super().__init__(daemon=True)
        self._url, self._bodies, self._next, self._until = url, bodies, first, until
        self.latencies: list[float] = []
        self.refused = self.failed = 0

    def run(self) -> None:
        with requests.Session() as session:
            while time.perf_counter() < self._until:
                started = time.perf_counter()
                status = self._ask(session)
                if status == requests.codes.ok:
                    self.latencies.append(time.perf_counter() - started)
                elif status == requests.codes.too_many_requests:
                    self.refused += 1
                    time.sleep(0.05)
                else:
                    self.failed += 1

    def _ask(self, session: requests.Session) -> int:
        body = self._bodies[self._next % len(self._bodies)]
        self._next += 1
        try:
            return session.post(self._url, data=body, timeout=_TIMEOUT_S).status_code
        except requests.RequestException:
            return 0


def over_http(url: str, bodies: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Ask a server.

    Args:
        url: to POST to.
        bodies: of the requests, in turn.
        clients: at the same time, each with a connection of its own.
        seconds: in which requests begin.
    """
    began = time.perf_counter()
    threads = [_Client(url, bodies, 7 * index, began + seconds) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(
        clients,
        time.perf_counter() - began,
        tuple(latency for thread in threads for latency in thread.latencies),
        sum(thread.refused for thread in threads),
        sum(thread.failed for thread in threads),
    )


def memory_mib(pid: int | str = "self", field: str = "VmHWM") -> float:
    """Read a process's memory: its peak (`VmHWM`), or now (`VmRSS`), MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/status has no {field}")
