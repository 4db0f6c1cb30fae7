"""What a node says of its progress reaches the run's listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
from absl import logging as absl_logging

from common.progress import Progress
from pipeline.local.progress import How, NodeClock


class _Keeping:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, sentence: str) -> None:
        """Keeps it."""
        self.told.append(sentence)

    def node_started(self, node: str) -> None:
        """Keeps it."""
        self.told.append(node)

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Keeps it."""
        self.told.append(f"{done} of {total} {what}")

    def node_failed(self, node: str) -> None:
        """Keeps it."""
        self.told.append(f"{node} failed")

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Keeps it."""
        self.told.append(f"{node} {how}")


@pytest.fixture
def listener() -> Iterator[_Keeping]:
    """One whose clock listens as in a run."""
    keeping = _Keeping()
    clock, logger = NodeClock(keeping), logging.getLogger("absl")
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    logger.addHandler(clock)
    yield keeping
    logger.removeHandler(clock)
    absl_logging.set_verbosity(before)


def test_a_count_is_told_at_its_beginning_and_with_each_percent(listener: _Keeping) -> None:
    Progress("pairs", 5).advance(1)
    assert listener.told == [], "no node is under way"
    absl_logging.info("Component %s is running.", "ShortcutAudit")
    absl_logging.info("Progress: %s", "of another kind, by somebody else")
    progress = Progress("pairs", 1_000)
    for _ in range(25):
        progress.advance()
    progress.advance(975)
    Progress("maps", 0)
    absl_logging.info("Component %s is finished.", "ShortcutAudit")
    counted = [f"{done} of 1000 pairs" for done in (0, 10, 20, 1000)]
    assert listener.told == ["ShortcutAudit", *counted, "ShortcutAudit resolved"]


def test_several_nodes_speak_at_once_each_in_its_thread(listener: _Keeping) -> None:
    ended, begun = threading.Event(), threading.Event()

    def second() -> None:
        absl_logging.info("Component %s is running.", "B")
        begun.set()
        ended.wait()
        Progress("maps", 2).advance(2)
        absl_logging.info("Component %s is finished.", "B")

    thread = threading.Thread(target=second)
    absl_logging.info("Component %s is running.", "A")
    thread.start()
    begun.wait()
    Progress("pairs", 2)
    ended.set()
    thread.join()
    # A thread of no node's own speaks of what the main thread executes.
    absl_logging.info("Component %s is executed in the main thread.", "A")
    other = threading.Thread(target=Progress, args=("edges", 3))
    other.start()
    other.join()
    absl_logging.error("Component %s has failed.", "A")
    assert listener.told == [
        "A",
        "B",
        "0 of 2 pairs",
        "0 of 2 maps",
        "2 of 2 maps",
        "B resolved",
        "0 of 3 edges",
        "A failed",
    ]


def test_what_failed_is_told_from_what_is_under_way() -> None:
    clock = NodeClock(_Keeping())
    logger = logging.Logger("runner", logging.INFO)
    logger.addHandler(clock)
    logger.info("Component %s is running.", "A")
    assert clock.running == "A"

    def second() -> None:
        logger.info("Component %s is running.", "B")
        logger.info("Component %s has failed.", "B")

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    logger.info("Component %s is finished.", "A")
    assert clock.running == "B"
