"""A queue that is killed at any step: nothing lost, nothing doubled, nothing left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common import durable
from serving.dicom_node import disk_queue, queue_file
from serving.dicom_node.disk_queue import DiskQueue, QueueFullError
from tests.serving.dicom_node.queues import BYTES, INSTANCES, UIDS, opened, results_of


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the program handles it."""


def came_to_its_end(steps: int | None, act: Any) -> bool:
    """Do something and be killed at a step on the way; say whether it came to its end."""
    left = steps

    def step(*_: Any) -> Any:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        replace, unlink, sync = Path.replace, Path.unlink, os.fsync
        read = Path.read_bytes
        # On the way to the peer, and to the model.
        patch.setattr(Path, "read_bytes", lambda *a: step() or read(*a))
        patch.setattr(Path, "replace", lambda *a: step() or replace(*a))
        patch.setattr(Path, "unlink", lambda *a, **b: step() or unlink(*a, **b))
        patch.setattr(os, "fsync", lambda *a: step() or sync(*a))
        real = queue_file.transaction
        patch.setattr(disk_queue, "transaction", lambda d: _Committing(real(d), step))
        try:
            act()
            return True
        except KilledError:
            pass
    return False


class Queue(RuleBasedStateMachine):
    """A node that is killed between any two of its steps on the disk.

    The model: what was acknowledged, and what the peer got. The peer has an object once however
    often it comes, and is checked for its bytes.
    """

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.queue = opened(self.folder, now=lambda: 0.0)
        self.acknowledged: set[str] = set()
        self.given_up: set[str] = set()
        self.peer: dict[str, bytes] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.queue.close()
            shutil.rmtree(self.folder)

    def _dying(self, steps: int | None, act: Any) -> bool:
        ended = came_to_its_end(steps, act)
        if not ended:
            self.restart()
        return ended

    @rule(uid=st.sampled_from(UIDS), size=st.integers(1, 40), steps=st.none() | st.integers(0, 7))
    def store(self, uid: str, size: int, steps: int | None) -> None:
        before, state = self.queue.counts(), self.state(uid)
        said: list[str] = []

        def act() -> None:
            try:
                said.append(self.queue.add(uid, b"i" * size, "PACS"))
            except QueueFullError:
                said.append("full")

        if not self._dying(steps, act):
            return
        full = before["held"] >= INSTANCES or before["held_bytes"] + size > BYTES
        if said == ["full"]:
            assert full
            return
        # What a kill came behind may be there without having been acknowledged.
        expected = {"": ("new",), "failed": ("again",)}.get(state, ("repeated", "differs"))
        assert said[0] in expected
        self.acknowledged.add(uid)
        if said[0] == "again":
            self.given_up.discard(uid)

    @rule(steps=st.none() | st.integers(0, 16), good=st.booleans())
    def answer(self, steps: int | None, good: bool) -> None:
        def act() -> None:
            item = self.queue.begin_answer()
            if item is None:
                return
            assert item.image.read_bytes().strip(b"i") == b""
            if good:
                self.queue.answer(item.uid, results_of(item.uid))
            else:
                self.given_up.add(item.uid)
                self.queue.fail(item.uid, "no radiograph")

        self._dying(steps, act)
        self.given_up = {uid for uid in self.given_up if self.state(uid) == "failed"}

    @rule(steps=st.none() | st.integers(0, 9), most=st.integers(1, 3))
    def send(self, steps: int | None, most: int) -> None:
        def act() -> None:
            for item in self.queue.unsent(most):
                for name, file in item.results:
                    self.peer[name] = file.read_bytes()
                    self.queue.sent(name)

        self._dying(steps, act)

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.queue = opened(self.folder, now=lambda: 0.0)

    def state(self, uid: str) -> str:
        with sqlite3.connect(self.folder / queue_file.DATABASE) as database:
            row = database.execute("SELECT state FROM instances WHERE uid = ?", (uid,)).fetchone()
        database.close()
        return "" if row is None else str(row[0])

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "queue"):
            return
        for uid in self.acknowledged - self.given_up:
            state = self.state(uid)
            results = results_of(uid)
            if state == "waiting":
                assert (self.folder / "images" / f"{uid}.dcm").is_file()
            elif state == "answered":
                for name, content in results.items():
                    kept = self.folder / "results" / f"{name}.dcm"
                    assert self.peer.get(name) == content or kept.read_bytes() == content
            else:
                assert state == "done"
                assert all(self.peer[name] == content for name, content in results.items())

    @invariant()
    def limits_hold(self) -> None:
        if hasattr(self, "queue"):
            assert self.queue.counts()["held"] <= INSTANCES
            waiting = [f.stat().st_size for f in (self.folder / "images").iterdir()]
            assert sum(waiting) <= BYTES


class _Committing:
    """A transaction in front of whose end a kill may come, and behind it."""

    def __init__(self, real: Any, step: Any) -> None:
        self.real, self.step = real, step

    def __enter__(self) -> Any:
        return self.real.__enter__()

    def __exit__(self, *error: Any) -> Any:
        if error[0] is None:
            try:
                self.step()
            except KilledError as killed:
                self.real.__exit__(type(killed), killed, None)
                raise
        ended = self.real.__exit__(*error)
        if error[0] is None:
            self.step()
        return ended


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=25)


def live(queue: DiskQueue, peer: dict[str, bytes], said: list[str]) -> None:
    """Store, answer and send one instance, as far as it goes."""
    said.append(queue.add("1.2.7", b"image", "PACS"))
    while (item := queue.begin_answer()) is not None:
        assert item.image.read_bytes() == b"image"
        queue.answer(item.uid, results_of(item.uid))
    for item in queue.unsent(9):
        for name, file in item.results:
            peer[name] = file.read_bytes()
            queue.sent(name)


def test_a_kill_at_any_step_loses_and_leaves_nothing(tmp_path: Path) -> None:
    for steps in range(100):
        folder = tmp_path / str(steps)
        queue, peer, said = opened(folder), dict[str, bytes](), list[str]()
        ended = came_to_its_end(steps, lambda q=queue, p=peer, s=said: live(q, p, s))
        queue.close()
        queue = opened(folder)
        # What was acknowledged is there; what was not is sent again.
        assert not said or queue.known(["1.2.7"])
        live(queue, peer, said)
        assert queue.counts()["done"] == 1
        assert peer == results_of("1.2.7")
        left = [
            file for part in ("images", "results", "partial") for file in (folder / part).iterdir()
        ]
        assert left == []
        queue.close()
        if ended:
            break
    # Three steps of the disk for the image alone; far more for all.
    assert 20 < steps < 99


STORE_FOR_EVER = """
import sys
from pathlib import Path
from serving.dicom_node.disk_queue import DiskQueue

queue = DiskQueue(Path(sys.argv[1]), max_instances=10**6, max_bytes=10**9)
known = queue.known([f"1.{number}" for number in range(9999)])
number = max((int(uid.split(".")[1]) for uid in known), default=0)
while True:
    number += 1
    queue.add(f"1.{number}", b"%d" % number, "A")
    print(number, flush=True)
"""


def test_what_was_acknowledged_is_there_after_sigkill(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    acknowledged = 0
    for at_least in (3, 10, 25):
        process = subprocess.Popen(
            [sys.executable, "-c", STORE_FOR_EVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        assert process.stdout is not None
        for _ in range(at_least):
            acknowledged = int(process.stdout.readline())
        process.kill()
        left = process.stdout.read().split()
        acknowledged = max([acknowledged, *map(int, left)])
        process.wait()
        process.stdout.close()
    queue = opened(tmp_path, max_instances=10**6, max_bytes=10**9)
    found = []
    while (item := queue.begin_answer()) is not None:
        assert item.image.read_bytes() == item.uid.split(".")[1].encode()
        found.append(int(item.uid.split(".")[1]))
        queue.fail(item.uid, "seen")
    # One may have been stored whose acknowledgement was cut off.
    assert found in (list(range(1, acknowledged + 1)), list(range(1, acknowledged + 2)))


def test_a_durable_file_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    durable.write_durably(file, b"old", tmp_path)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        durable.write_durably(file, b"new", tmp_path)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
