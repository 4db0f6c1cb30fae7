"""Faults that befall a server beside its clients: versions, a full disk, a stop, little memory."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from benchmarks.soak.good_clients import MODEL
from serving.process import Server

_PATIENCE_S: Final = 90.0
_LOG_DISK_MIB: Final = 256
_MIB: Final = 2**20


class FaultError(RuntimeError):
    """A fault had another effect on the server than it may have."""


class Versions(threading.Thread):
    """Has versions come and go, whole, half-written and corrupt, until it is told to end.

    Attributes:
        done: kind -> how often.
        error: why it ended before its time; None if it didn't.
    """

    def __init__(
        self, source: Path, folder: Path, server: Server, ended: threading.Event, pause: float
    ) -> None:
        """Prepare.

        Args:
            source: a good version.
            folder: of the model that is served; its version 1 is there.
            server: that looks there each second.
            ended: no further version comes after it was set.
            pause: seconds between two of them.
        """
        super().__init__(name="versions", daemon=True)
        self._source, self._folder, self._server = source, folder, server
        self._ended, self._pause = ended, pause
        self._draw = random.Random(0)
        self._number = 1
        self.done: Counter[str] = Counter()
        self.error: str | None = None

    def run(self) -> None:
        """Go round."""
        kinds: dict[str, Callable[[Path], None]] = {
            "whole": self._whole,
            "half-written, then completed": self._half,
            "corrupt": self._corrupt,
            "taken back": self._taken_back,
        }
        try:
            while True:
                for name, act in kinds.items():
                    if self._ended.wait(self._pause):
                        return
                    self._number += 1
                    act(self._folder / str(self._number))
                    self.done[name] += 1
        # Whatever it is, the soak has to say so.
        except Exception as error:
            self.error = f"versions: {type(error).__name__}: {error}"

    def _whole(self, path: Path) -> None:
        """Have a version appear at once, and remove the ones before it."""
        self._copy(path)
        self._until(path, "AVAILABLE")
        self._remove_others(path)

    def _half(self, path: Path) -> None:
        """Stop a copy in the middle, and go on later."""
        path.mkdir()
        model = (self._source / "saved_model.pb").read_bytes()
        (path / "saved_model.pb").write_bytes(model[: len(model) // 2])
        self._until(path, "END")
        shutil.copytree(self._source, path, dirs_exist_ok=True)
        self._until(path, "AVAILABLE")
        self._remove_others(path)

    def _corrupt(self, path: Path) -> None:
        """Change bytes of a file: it can't be loaded, and what was before answers on."""
        hidden = self._copy(path, publish=False)
        name = self._draw.choice(("saved_model.pb", "variables/variables.index"))
        content = bytearray((hidden / name).read_bytes())
        # From the beginning on: a change deep in a graph may mean something, too.
        content[:64] = self._draw.randbytes(64)
        (hidden / name).write_bytes(content)
        hidden.rename(path)
        self._until(path, "END")
        shutil.rmtree(path)

    def _taken_back(self, path: Path) -> None:
        """Have a version come, and remove it while the one before it is still there."""
        self._copy(path)
        self._until(path, "AVAILABLE")
        before = max(int(p.name) for p in self._folder.iterdir() if p.name != path.name)
        shutil.rmtree(path)
        self._until(self._folder / str(before), "AVAILABLE")

    def _copy(self, path: Path, *, publish: bool = True) -> Path:
        hidden = Path(tempfile.mkdtemp(dir=self._folder.parent.parent)) / path.name
        shutil.copytree(self._source, hidden)
        return hidden.rename(path) if publish else hidden

    def _remove_others(self, kept: Path) -> None:
        for path in self._folder.iterdir():
            if path != kept:
                shutil.rmtree(path)

    def _until(self, path: Path, state: str) -> None:
        """Wait until the server says that of a version."""
        deadline = time.monotonic() + _PATIENCE_S
        said: Any = None
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{self._server.url}/v1/models/{MODEL}", timeout=30).json()
                said = answer.get("model_version_status", answer)
                states = {one["version"]: one["state"] for one in said}
                if states.get(path.name) == state:
                    return
            time.sleep(0.2)
        raise FaultError(f"version {path.name} isn't {state} in {_PATIENCE_S:g} s: {said}")


@contextmanager
def log_disk(folder: Path) -> Iterator[str]:
    """Make a folder for the log, on a file system of its own where this process may.

    Yields:
        The kind of it, for the table.
    """
    folder.mkdir()
    size = f"size={_LOG_DISK_MIB}m"
    command = ["mount", "-t", "tmpfs", "-o", size, "cxr-soak", str(folder)]
    may = os.geteuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(command, capture_output=True, check=False).returncode:
        yield "a folder that takes no file"
        return
    try:
        yield f"a full tmpfs of {_LOG_DISK_MIB} MiB"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Let nothing more be written into the log's folder, while the block lasts."""
    if not folder.is_mount():
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(_MIB))
        yield
    finally:
        filler.unlink()


def stopped(server: Server, seconds: float) -> None:
    """Stop the server's process for a time, as a machine that sleeps would."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        server.process.send_signal(signal.SIGCONT)


def limit_memory(server: Server, headroom_mib: int) -> int:
    """Let the server have a little more memory than it has, and no more (RLIMIT_DATA).

    Returns:
        The limit, MiB.
    """
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmData:"):
            limit = int(line.split()[1]) // 1024 + headroom_mib
            resource.prlimit(server.process.pid, resource.RLIMIT_DATA, (limit * _MIB, limit * _MIB))
            return limit
    raise FaultError(f"/proc/{server.process.pid}/status has no VmData")
