"""Measures other processes: seconds, CPU seconds, memory. Linux only: read from /proc."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# In /proc/PID/stat, counted behind the name in parentheses: utime, stime, cutime, cstime.
_TIMES: Final = slice(11, 15)
_LOG_SHOWN: Final = 2000  # characters


@dataclass(frozen=True)
class Used:
    """The resources that a command took.

    Attributes:
        seconds: wall clock.
        cpu: seconds of all its threads, and of all processes that it started and waited for.
        peak_mib: resident memory of the largest of these processes, at its peak.
    """

    seconds: float
    cpu: float
    peak_mib: float


def used_by(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    allowed: Collection[int] = (0,),
) -> Used:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of it.
        folder: to work in.
        log: file for what it says.
        allowed: exit statuses.

    Raises:
        InputError: it ended with another exit status; shows the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=sink, stderr=subprocess.STDOUT
        )
        try:
            # Popen's own wait doesn't say what was used.
            _, status, resources = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.terminate()
                process.wait()
        seconds = time.monotonic() - began
    if process.returncode not in allowed:
        said = log.read_text(encoding="utf-8", errors="replace")[-_LOG_SHOWN:]
        raise InputError(
            f"{' '.join(command)} in {folder} ended with {process.returncode}; "
            f"the whole log is {log}, which ends:\n{said}"
        )
    return Used(seconds, resources.ru_utime + resources.ru_stime, resources.ru_maxrss / 1024)


def used_so_far(pid: int, since: float) -> Used:
    """Look at a process that runs, and at those that it started.

    Args:
        pid: of the process.
        since: `time.monotonic()` when it was started.
    """
    all_of_them = (pid, *descendants(pid))
    return Used(
        time.monotonic() - since,
        sum(map(_cpu_seconds, all_of_them)),
        max(map(peak_mib, all_of_them)),
    )


def peak_mib(pid: int) -> float:
    """Read a process's peak of resident memory, MiB; 0 where the process is gone."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    found = (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return next(found, 0.0)


def descendants(pid: int) -> list[int]:
    """List the processes that a process started, and those that they started."""
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*children, *(below for child in children for below in descendants(child))]


def _cpu_seconds(pid: int) -> float:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    return sum(map(int, stat.rpartition(")")[2].split()[_TIMES])) / _TICKS
