"""The queue on the disk: what it takes, what it refuses, what it says."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from common.errors import InputError
from serving.dicom_node import disk_queue, queue_file
from serving.dicom_node.disk_queue import BadUidError, DiskQueue, QueueFullError
from tests.serving.dicom_node.queues import BYTES, INSTANCES, UIDS, opened, results_of


@pytest.fixture
def queue(tmp_path: Path) -> DiskQueue:
    return opened(tmp_path / "queue")


def test_the_same_instance_is_taken_once(queue: DiskQueue) -> None:
    assert queue.add("1.2.3", b"one", "A") == "new"
    assert queue.add("1.2.3", b"one", "A") == "repeated"
    assert queue.add("1.2.3", b"two", "A") == "differs"
    item = queue.begin_answer()
    assert item is not None and item.image.read_bytes() == b"one"
    queue.answer("1.2.3", results_of("1.2.3"))
    assert queue.add("1.2.3", b"one", "A") == "repeated"
    assert queue.begin_answer() is None
    assert queue.known(["1.2.3", "1.2.4"]) == {"1.2.3"}


def test_as_many_as_the_limit_wait_and_one_more_is_refused(queue: DiskQueue) -> None:
    for uid in UIDS[:INSTANCES]:
        queue.add(uid, b"x", "A")
    with pytest.raises(QueueFullError, match="4 instances wait"):
        queue.add("1.9", b"x", "A")
    with pytest.raises(QueueFullError):
        queue.require_room(1)
    item = queue.begin_answer()
    assert item is not None
    queue.fail(item.uid, "lateral")
    assert queue.add("1.9", b"x", "A") == "new"


def test_as_many_bytes_as_the_limit_wait_and_one_more_is_refused(queue: DiskQueue) -> None:
    queue.add("1.2", b"x" * (BYTES - 1), "A")
    with pytest.raises(QueueFullError, match="59 bytes wait, of 60"):
        queue.add("1.3", b"xx", "A")
    assert queue.add("1.3", b"x", "A") == "new"


def test_a_full_disk_is_a_full_queue(queue: DiskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_queue, "write_durably", full)
    with pytest.raises(QueueFullError, match="the disk is full"):
        queue.add("1.2", b"x", "A")
    monkeypatch.undo()
    assert queue.add("1.2", b"x", "A") == "new"


@pytest.mark.parametrize("uid", ["", "1..2", "../x", "1.2/3", "1." + "2" * 63, "1.2\n", "a"])
def test_what_is_no_uid_names_no_file(queue: DiskQueue, uid: str) -> None:
    with pytest.raises(BadUidError):
        queue.add(uid, b"x", "A")


def test_two_nodes_dont_share_a_queue(queue: DiskQueue, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="held by another node"):
        opened(tmp_path / "queue")
    queue.close()
    opened(tmp_path / "queue").close()


def test_others_may_not_read_it(queue: DiskQueue, tmp_path: Path) -> None:
    assert (tmp_path / "queue").stat().st_mode & 0o077 == 0
    assert (tmp_path / "queue" / queue_file.DATABASE).stat().st_mode & 0o077 == 0


def test_failures_are_listed_and_results_can_be_sent_again(
    queue: DiskQueue, tmp_path: Path
) -> None:
    for uid in UIDS[:2]:
        queue.add(uid, b"x", "PACS")
        assert queue.begin_answer() is not None
    queue.fail(UIDS[0], "lateral")
    queue.answer(UIDS[1], results_of(UIDS[1]))
    queue.fail(UIDS[1], "refused")
    listed = {one.uid: one for one in queue_file.failures(tmp_path / "queue")}
    assert listed[UIDS[0]].why == "lateral" and not listed[UIDS[0]].retriable
    assert listed[UIDS[1]].retriable and listed[UIDS[1]].sender == "PACS"
    # Refused results take room until somebody decides.
    assert queue.counts()["held"] == 1
    assert queue_file.retry_failures(tmp_path / "queue") == 1
    (item,) = queue.unsent(9)
    assert [name for name, _ in item.results] == list(results_of(UIDS[1]))
    # Sent again, what was never answered is tried anew.
    assert queue.add(UIDS[0], b"y", "PACS") == "again"
    assert queue_file.counts(tmp_path / "queue") == queue.counts()


def test_what_waits_is_not_due_before_its_time(tmp_path: Path) -> None:
    clock = [0.0]
    queue = opened(tmp_path, now=lambda: clock[0])
    queue.add("1.2", b"x", "A")
    assert queue.begin_answer() is not None
    queue.later("1.2", "busy", 10)
    assert queue.begin_answer() is None
    clock[0] = 10
    again = queue.begin_answer()
    assert again is not None and again.tries == 1
    queue.answer("1.2", results_of("1.2"))
    queue.later("1.2", "peer is full", 5)
    assert queue.unsent(1) == []
    clock[0] = 15
    assert [item.tries for item in queue.unsent(1)] == [1]


def test_threads_store_side_by_side(tmp_path: Path) -> None:
    queue = opened(tmp_path, max_instances=1000, max_bytes=10**6)
    said: list[str] = []

    def store() -> None:
        said.extend(queue.add(f"1.{number}", b"x", "A") for number in range(20))

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("new") == 20 and said.count("repeated") == 60


def test_a_folder_without_a_queue_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no queue"):
        queue_file.failures(tmp_path)


def test_a_queue_of_another_version_is_refused(queue: DiskQueue, tmp_path: Path) -> None:
    queue.close()
    with sqlite3.connect(tmp_path / "queue" / queue_file.DATABASE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InputError, match="another version"):
        opened(tmp_path / "queue")
