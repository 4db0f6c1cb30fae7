"""Gives results to the peer, and notes what it has."""

from __future__ import annotations

import logging
import threading
from typing import Final

from serving.dicom_node.destinations import (
    BusyError,
    Destination,
    Give,
    PeerDownError,
    RefusedError,
)
from serving.dicom_node.disk_queue import DiskQueue, Item
from serving.dicom_node.settings import Answer

LOGGER: Final = logging.getLogger("cxr.node")
# Instances whose results go through one association: opening it takes longer than sending.
_TOGETHER: Final = 50
_LOOK_S: Final = 0.2


class Sender:
    """Sends results in the order of their images, with growing waits for a peer that is down."""

    def __init__(self, queue: DiskQueue, destination: Destination, answer: Answer) -> None:
        """Prepare to send.

        Args:
            queue: that has the results.
            destination: that gets them.
            answer: the waits.
        """
        self._queue, self._destination, self._answer = queue, destination, answer
        self._given = 0

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop."""
        failed = 0
        while not stop.is_set():
            items = self._queue.unsent(_TOGETHER)
            if not items:
                stop.wait(_LOOK_S)
                continue
            self._given = 0
            try:
                with self._destination.session() as give:
                    for item in items:
                        if stop.is_set():
                            break
                        self._send(item, give)
                failed = 0
            except PeerDownError as down:
                failed = 1 if self._given else failed + 1
                wait = self._wait_s(failed - 1)
                LOGGER.warning("%s; next try in %.0f s", down, wait)
                stop.wait(wait)

    def _send(self, item: Item, give: Give) -> None:
        for name, file in item.results:
            try:
                give(file)
            except RefusedError as refused:
                LOGGER.error("the results of %s failed: %s", item.uid, refused)
                self._queue.fail(item.uid, str(refused))
                return
            except BusyError as busy:
                wait = self._wait_s(item.tries)
                LOGGER.warning("the results of %s wait %.0f s: %s", item.uid, wait, busy)
                self._queue.later(item.uid, str(busy), wait)
                return
            self._queue.sent(name)
            self._given += 1
        LOGGER.info("the results of %s are with the peer", item.uid)

    def _wait_s(self, before: int) -> float:
        # 2**30 waits are more than the longest, and a float.
        return float(
            min(self._answer.longest_wait_s, self._answer.first_wait_s * 2 ** min(before, 30))
        )
