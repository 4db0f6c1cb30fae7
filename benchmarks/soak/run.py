"""A soak: good clients and bad ones, and faults, against one server; and whether it held."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from benchmarks.serving.load import memory_mib
from benchmarks.soak.bad_clients import (
    KINDS,
    MAX_BODY_BYTES,
    READ_TIMEOUT_S,
    BadClient,
    expected_answers,
)
from benchmarks.soak.faults import Versions, full_disk, limit_memory, log_disk, stopped
from benchmarks.soak.good_clients import MODEL, WAYS, GoodClient
from benchmarks.soak.images import Images
from benchmarks.soak.ledger import Ledger
from schema import contract
from serving.prediction_log.reading import Reading, find_shards, read_shards
from serving.process import Server, running_server, stop

_ROOT: Final = Path(__file__).parents[2]
# An hour has as many of everything that befalls the server, each ten minutes.
_ROUND_S: Final = 600.0
# So short that some requests have to come again.
_QUEUE: Final = 2
_LAST_ANSWERS_S: Final = 120.0
_LOG: Final = "cxr_serving_prediction_log_"
_WRITE: Final = """
import sys
from pathlib import Path
from tests.miniatures import miniature_backbones
with miniature_backbones():
    from benchmarks.serving.random_models import write_backbone
    write_backbone(Path(sys.argv[1]), "xception")
"""


@dataclass(frozen=True)
class Settings:
    """The settings of a soak.

    Attributes:
        seconds: that clients ask.
        clients: good ones for each of the four ways to ask.
        stop_seconds: that the server's process is stopped.
        version_seconds: between two versions.
        headroom_mib: memory that the server may take beyond what it has at the start.
        growth_mib: by which its memory may be larger at the end.
        seed: of what is drawn.
    """

    seconds: float = 600.0
    clients: int = 1
    stop_seconds: float = 10.0
    version_seconds: float = 5.0
    headroom_mib: int = 1024
    growth_mib: int = 150
    seed: int = 0


@dataclass
class Outcome:
    """The figures of a soak.

    Attributes:
        ledger: what clients saw.
        memory: (seconds since the clients began, resident MiB), each second.
        limit_mib: of the server's private memory.
        disk: what stood for a full disk.
        versions: kind -> how often such a version came.
        stops: of the process.
        written: records that the server says it has written.
        dropped: reason -> records that it says it has dropped.
        records: that are in the log.
        missing: answers of good clients that aren't.
        twice: images of good clients that are there more than once.
        torn: shards that can't be read to their end.
        faults: everything that must not be, in words. Empty where the server held.
    """

    ledger: Ledger
    memory: list[tuple[float, float]] = field(default_factory=list)
    limit_mib: int = 0
    disk: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    stops: int = 0
    written: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    records: int = 0
    missing: int = 0
    twice: int = 0
    torn: int = 0
    faults: list[str] = field(default_factory=list)

    def memory_at(self, begin: float, end: float) -> float:
        """Return the median of the memory in a part (0..1) of the soak, MiB."""
        last = self.memory[-1][0]
        part = [mib for second, mib in self.memory if begin * last <= second <= end * last]
        return statistics.median(part)


def write_model(folder: Path) -> Path:
    """Write a miniature model, in a process of its own; return its only version."""
    command = [sys.executable, "-c", _WRITE, str(folder)]
    subprocess.run(command, cwd=_ROOT, check=True, capture_output=True)
    (version,) = (folder / "xception").iterdir()
    return version


def soak(settings: Settings, scratch: Path) -> Outcome:
    """Run one, and check what came of it.

    Args:
        settings: of it.
        scratch: an empty folder.
    """
    outcome = Outcome(Ledger())
    source = write_model(scratch / "source")
    folder = scratch / "models" / MODEL
    folder.mkdir(parents=True)
    shutil.copytree(source, folder / "1")
    log = scratch / "log"
    with log_disk(log) as outcome.disk:
        arguments = [
            *("--model-dir", str(folder.parent)),
            *("--network-cache", str(scratch / "networks")),
            *("--prediction-log-dir", str(log)),
            *("--prediction-log-shard-seconds", "10"),
            *("--read-timeout-seconds", str(READ_TIMEOUT_S)),
            *("--max-queue", str(_QUEUE)),
            *("--max-body-bytes", str(MAX_BODY_BYTES)),
            *("--max-held-bytes", str(32 * MAX_BODY_BYTES)),
        ]
        with running_server(*arguments) as server:
            _clients_and_faults(settings, server, source, folder, log, outcome)
            _check_end(server, outcome)
        _check_log(log, outcome)
    _judge(settings, outcome)
    return outcome


def _clients_and_faults(
    settings: Settings, server: Server, source: Path, folder: Path, log: Path, outcome: Outcome
) -> None:
    images, ledger = Images(), outcome.ledger
    expected_answers(server, images, ledger)
    outcome.limit_mib = limit_memory(server, settings.headroom_mib)
    ended = threading.Event()
    versions = Versions(source, folder, server, ended, settings.version_seconds)
    clients: list[threading.Thread] = [
        GoodClient(way, server, images, ledger, ended)
        for way in WAYS
        for _ in range(settings.clients)
    ]
    clients += [BadClient(kind, server, images, ledger, ended, settings.seed) for kind in KINDS]
    began = time.monotonic()
    with _measured(server, outcome, began):
        for thread in (*clients, versions):
            thread.start()
        _befall(settings, server, log, outcome, began)
        ended.set()
        for thread in (*clients, versions):
            thread.join(_LAST_ANSWERS_S)
            if thread.is_alive():
                outcome.faults.append(f"{thread.name}: no answer in {_LAST_ANSWERS_S:g} s")
    outcome.versions = dict(versions.done)
    if versions.error is not None:
        outcome.faults.append(versions.error)


def _befall(settings: Settings, server: Server, log: Path, outcome: Outcome, began: float) -> None:
    """Fill the disk, and stop the process, at their times."""
    length = min(_ROUND_S, settings.seconds)
    for number in range(max(1, round(settings.seconds / length))):
        begin = began + number * length
        _sleep_until(begin + 0.3 * length)
        with full_disk(log):
            _sleep_until(begin + 0.5 * length)
        _sleep_until(begin + 0.6 * length)
        stopped(server, settings.stop_seconds)
        outcome.stops += 1
        _sleep_until(begin + length)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@contextlib.contextmanager
def _measured(server: Server, outcome: Outcome, began: float) -> Iterator[None]:
    """Read the server's memory each second, while the block lasts."""
    over = threading.Event()

    def measure() -> None:
        while not over.wait(1.0):
            with contextlib.suppress(OSError):
                mib = memory_mib(server.process.pid, "VmRSS")
                outcome.memory.append((time.monotonic() - began, mib))

    thread = threading.Thread(target=measure, name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _check_end(server: Server, outcome: Outcome) -> None:
    """Wait until the log is written, read its counters, and end the server."""
    if server.process.poll() is not None:
        outcome.faults.append(f"the server ended with {server.process.returncode}")
        outcome.faults += server.log.read_text(errors="replace").splitlines()[-20:]
        return
    deadline = time.monotonic() + _LAST_ANSWERS_S
    before: dict[str, int] = {}
    # What waits, and what is in the writer's hands, is seen by nobody: so twice the same.
    while time.monotonic() < deadline:
        counters = log_counters(server)
        if counters == before and not counters["waiting"]:
            break
        before = counters
        time.sleep(1.5)
    else:
        outcome.faults.append(f"the log isn't written: {before}")
    outcome.written = before["written_total"]
    outcome.dropped = {
        name.partition("dropped_total_")[2]: count
        for name, count in before.items()
        if name.startswith("dropped_total_") and count
    }
    status = stop(server)
    if status:
        outcome.faults.append(f"the server ended with {status} after SIGTERM")
    said = server.log.read_text(errors="replace")
    if count := said.count("Traceback"):
        outcome.faults.append(f"{count} tracebacks in the server's log")
        outcome.faults += said[said.index("Traceback") :].splitlines()[:40]


def log_counters(server: Server) -> dict[str, int]:
    """Read the prediction log's counters: name, and reason behind it, -> count."""
    page = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
    found = {}
    for line in page.splitlines():
        if line.startswith(_LOG):
            name, value = line.removeprefix(_LOG).rsplit(" ", 1)
            found[name.replace('{reason="', "_").removesuffix('"}')] = int(float(value))
    return found


def _check_log(log: Path, outcome: Outcome) -> None:
    """Look for each good client's answer in the log."""
    reading = Reading()
    seen: dict[str, int] = {}
    for _, record in read_shards(find_shards(log), reading):
        for value in record.predict_log.request.inputs[contract.INPUT_IMAGES].string_val:
            name = value.decode()
            seen[name] = seen.get(name, 0) + 1
    outcome.records = reading.records
    outcome.torn = len(reading.torn) + len(reading.strange) + len(reading.unread)
    answered = outcome.ledger.answered
    outcome.missing = sum(name not in seen for name in answered)
    outcome.twice = sum(seen.get(name, 0) > 1 for name in answered)


def _judge(settings: Settings, outcome: Outcome) -> None:
    """Add what must not be to the faults."""
    ledger = outcome.ledger
    if ledger.errors:
        outcome.faults += [f"{ledger.errors} errors:", *ledger.error_lines]
    if ledger.wrong:
        outcome.faults.append(f"{ledger.wrong} answers differ from those of the start")
    more = sum(count > 1 for count in ledger.answered.values())
    if more:
        outcome.faults.append(f"{more} requests have more than one answer")
    idle = [name for name in (*WAYS, *KINDS) if not ledger.by_client[name]]
    if idle:
        outcome.faults.append(f"nothing came of: {', '.join(idle)}")
    if outcome.twice or outcome.torn:
        outcome.faults.append(f"log: {outcome.twice} records twice, {outcome.torn} shards torn")
    if outcome.records != outcome.written:
        outcome.faults.append(f"log: {outcome.written} said, {outcome.records} there")
    if outcome.missing > sum(outcome.dropped.values()):
        outcome.faults.append(f"log: {outcome.missing} missing, dropped {outcome.dropped}")
    if not outcome.dropped.get("disk"):
        outcome.faults.append("log: the full disk was not noticed")
    growth = outcome.memory_at(0.9, 1.0) - outcome.memory_at(0.1, 0.2)
    if growth > settings.growth_mib:
        outcome.faults.append(f"memory: {growth:.0f} MiB more at the end")
