"""A node's settings and a peer, for tests: real associations on loopback."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt

from serving.dicom_node.disk_queue import DiskQueue
from serving.dicom_node.receiving import VERIFICATION, Receiver
from serving.dicom_node.settings import NodeSettings

HERE = "127.0.0.1"


def node_settings(folder: Path, **changes: Any) -> NodeSettings:
    """A node that takes from PACS, on a free port, and answers to it."""
    given: dict[str, Any] = {
        "queue": folder / "queue",
        "peers": {"pacs": {"ae_title": "PACS", "host": HERE, "port": 1}},
        "receive": {"port": 0},
        "answer": {"peer": "pacs", "first_wait_s": 0.05, "longest_wait_s": 0.2},
        "limits": {"stop_s": 2},
    }
    return NodeSettings.model_validate(given | changes)


def queue_of(settings: NodeSettings) -> DiskQueue:
    limits = settings.limits
    return DiskQueue(settings.queue, max_instances=limits.instances, max_bytes=limits.queue_bytes)


class Runs(Protocol):
    """What takes instances until it is told to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


_Runs = TypeVar("_Runs", bound=Runs)


@contextlib.contextmanager
def in_thread(receiver: _Runs) -> Iterator[_Runs]:
    """Let it run, and see that it ends."""
    thread = threading.Thread(target=receiver.run)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stop()
        thread.join(30)
        assert not thread.is_alive()


def receiving(
    settings: NodeSettings, queue: DiskQueue
) -> contextlib.AbstractContextManager[Receiver]:
    return in_thread(Receiver(settings, queue))


@contextlib.contextmanager
def association(
    port: int,
    calling: str = "PACS",
    called: str = "CXR",
    tls: ssl.SSLContext | None = None,
    syntaxes: Sequence[str] = (),
) -> Iterator[Any]:
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.connection_timeout = 20
    entity.add_requested_context(VERIFICATION)
    if syntaxes:
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, [*syntaxes])
    else:
        entity.add_requested_context(DigitalXRayImageStorageForPresentation)
    made = entity.associate(
        HERE, port, ae_title=called, tls_args=(tls, "localhost") if tls else None
    )
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


class Peer:
    """A PACS that keeps what it gets; `statuses` are given before it takes things again."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[Dataset] = []
        self.statuses: list[int] = []
        self.entity = AE("PACS")
        for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            self.entity.add_supported_context(sop_class)
        server: Any = self.entity.start_server(
            (HERE, port), block=False, ssl_context=tls, evt_handlers=[(evt.EVT_C_STORE, self._got)]
        )
        self.server = server
        self.port = int(server.socket.getsockname()[1])

    def _got(self, event: evt.Event) -> int:
        if self.statuses:
            status = self.statuses.pop(0)
            if status:
                return status
        made = event.dataset
        made.file_meta = event.file_meta
        self.got.append(made)
        return 0

    def stop(self) -> None:
        self.server.shutdown()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
