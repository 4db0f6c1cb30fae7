"""Runs a node: receiver, poller, model and sender side by side, until SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from serving.dicom_node.answering import Answerer, Model
from serving.dicom_node.destinations import destination_of
from serving.dicom_node.disk_queue import DiskQueue
from serving.dicom_node.polling import Poller
from serving.dicom_node.receiving import Receiver
from serving.dicom_node.sending import Sender
from serving.dicom_node.settings import NodeSettings
from serving.dicom_node.web import web_client

if TYPE_CHECKING:
    from serving.dicom_node.stow import StowReceiver

LOGGER: Final = logging.getLogger("cxr.node")
# Of what works on one image or one result; the queue loses nothing where it takes longer.
_END_S: Final = 30.0


class Node:
    """A node's parts, each in a thread of its own."""

    def __init__(self, settings: NodeSettings, load: Callable[[], Model]) -> None:
        """Open the queue, load the model, and listen; nothing is taken before `run`.

        Args:
            settings: of the node.
            load: the model, once.

        Raises:
            InputError: settings, queue or model are wrong, or the address is taken.
        """
        limits = settings.limits
        destination = destination_of(settings)
        client = None if settings.poll is None else web_client(settings, settings.poll, limits)
        self._queue = DiskQueue(
            settings.queue, max_instances=limits.instances, max_bytes=limits.queue_bytes
        )
        self._stop = threading.Event()
        self._broken: list[str] = []
        try:
            model = load()
            self._log = model.log
            answerer = Answerer(self._queue, model, limits.tries)
            parts: list[tuple[str, Any]] = [
                ("model", answerer),
                ("sender", Sender(self._queue, destination, settings.answer)),
            ]
            if settings.poll is not None:
                assert client is not None
                parts.append(("poller", Poller(self._queue, client, settings.poll)))
            # Last: a peer that connects finds a node that works.
            self._receivers: dict[str, Receiver | StowReceiver] = {}
            if settings.receive is not None:
                self._receivers["C-STORE"] = Receiver(settings, self._queue)
            if settings.stow is not None:
                from serving.dicom_node.stow import StowReceiver

                self._receivers["STOW-RS"] = StowReceiver(settings, self._queue)
        except BaseException:
            self._queue.close()
            raise
        self._threads = [self._thread(name, part.run, self._stop) for name, part in parts]
        self._serving = {
            name: self._thread(f"{name} receiver", receiver.run)
            for name, receiver in self._receivers.items()
        }

    @property
    def port(self) -> int | None:
        """The port that it listens on for C-STORE."""
        return self._port("C-STORE")

    @property
    def web_port(self) -> int | None:
        """The port that it listens on for STOW-RS."""
        return self._port("STOW-RS")

    def _port(self, name: str) -> int | None:
        return self._receivers[name].port if name in self._receivers else None

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or `stop`; what is under way is ended, the rest stays queued.

        Raises:
            RuntimeError: a part of it broke, which no part should.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        LOGGER.info("in the queue: %s", self._queue.counts())
        for thread in self._threads:
            thread.start()
        for name, thread in self._serving.items():
            thread.start()
            LOGGER.info("listening on port %d for %s", self._receivers[name].port, name)
        # With a limit, or Python takes no signal meanwhile on some systems.
        while not self._stop.wait(1.0):
            pass
        LOGGER.info("shutting down")
        for name, thread in self._serving.items():
            self._receivers[name].stop()
            thread.join()
        end = time.monotonic() + _END_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        LOGGER.info("stopped; in the queue: %s", self._queue.counts())
        if not any(thread.is_alive() for thread in self._threads):
            self._queue.close()
        if self._log is not None:
            self._log.close()
        if self._broken:
            raise RuntimeError(f"the node's {', '.join(self._broken)} broke; see the log")

    def stop(self) -> None:
        """Have `run` end."""
        self._stop.set()

    def _thread(self, name: str, run: Callable[..., None], *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                run(*arguments)
            except Exception:
                # A node without one of its parts would take images and never answer them.
                LOGGER.exception("the %s broke; the node ends", name)
                self._broken.append(name)
                self._stop.set()

        return threading.Thread(target=guarded, name=f"cxr-{name}", daemon=True)
