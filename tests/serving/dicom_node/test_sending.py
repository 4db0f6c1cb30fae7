"""Results to a peer: until it has them, once each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from pynetdicom import AE, evt

from serving.dicom_node import queue_file
from serving.dicom_node.destinations import destination_of
from serving.dicom_node.disk_queue import DiskQueue
from serving.dicom_node.sending import Sender
from serving.dicom_node.settings import NodeSettings
from serving.dicom_results.files import encoded
from serving.dicom_results.heat_map import make_heat_map
from serving.dicom_results.identity import Algorithm
from serving.dicom_results.report import make_report
from serving.prediction import Prediction
from serving.process import free_port
from tests.pipeline.deidentify.radiographs import another
from tests.serving.dicom_node.peers import HERE, Peer, node_settings, queue_of

pytestmark = pytest.mark.waits


def await_(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited for in vain"
        time.sleep(0.02)


class Sending:
    """A node's sender in a thread."""

    def __init__(self, settings: NodeSettings, queue: DiskQueue) -> None:
        self.stop = threading.Event()
        self.sender = Sender(queue, destination_of(settings), settings.answer)
        self.thread = threading.Thread(target=self.sender.run, args=[self.stop])

    def __enter__(self) -> Sending:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def to(port: int, **changes: Any) -> dict[str, Any]:
    return {"peers": {"pacs": {"ae_title": "PACS", "host": HERE, "port": port}}} | changes


@pytest.fixture
def results(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> Callable[[DiskQueue, int], list[str]]:
    def put(queue: DiskQueue, number: int) -> list[str]:
        source = another(number)
        made: list[Dataset] = [
            make_report(source, answer, algorithm),
            make_heat_map(source, answer, algorithm, picture),
        ]
        queue.add(source.SOPInstanceUID, b"image", "PACS")
        item = queue.begin_answer()
        assert item is not None
        queue.answer(item.uid, {str(one.SOPInstanceUID): encoded(one) for one in made})
        return [str(one.SOPInstanceUID) for one in made]

    return put


Put = Callable[[DiskQueue, int], list[str]]


def test_the_peer_gets_report_and_heat_map_once(tmp_path: Path, results: Put) -> None:
    with Peer() as pacs:
        settings = node_settings(tmp_path, **to(pacs.port))
        queue = queue_of(settings)
        expected = [uid for number in range(3) for uid in results(queue, number)]
        with Sending(settings, queue):
            await_(lambda: queue.counts()["done"] == 3)
        assert [str(one.SOPInstanceUID) for one in pacs.got] == expected
        assert pacs.got[0].PatientName == "Mueller^Hannelore"
    assert list((settings.queue / "results").iterdir()) == []


def test_a_peer_that_is_down_is_waited_for(
    tmp_path: Path, results: Put, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = node_settings(tmp_path, **to(port))
    queue = queue_of(settings)
    expected = results(queue, 1)
    with Sending(settings, queue):
        await_(lambda: caplog.text.count("can't be reached; next try in") > 1)
        assert queue.counts()["answered"] == 1
        with Peer(port) as pacs:
            await_(lambda: queue.counts()["done"] == 1)
    assert [str(one.SOPInstanceUID) for one in pacs.got] == expected


def test_waits_grow_up_to_the_longest(tmp_path: Path) -> None:
    settings = node_settings(
        tmp_path, answer={"peer": "pacs", "first_wait_s": 1, "longest_wait_s": 300}
    )
    sender = Sender(queue_of(settings), destination_of(settings), settings.answer)
    waits = [sender._wait_s(before) for before in (0, 1, 2, 8, 9, 10**6)]
    assert waits == [1, 2, 4, 256, 300, 300]


def test_a_peer_without_room_gets_it_later(tmp_path: Path, results: Put) -> None:
    with Peer() as pacs:
        # The report is taken, then there is no room; a warning is a success.
        pacs.statuses = [0, 0xA700, 0xA701, 0xB000]
        settings = node_settings(tmp_path, **to(pacs.port))
        queue = queue_of(settings)
        results(queue, 1)
        with Sending(settings, queue):
            await_(lambda: queue.counts()["done"] == 1)
        assert pacs.statuses == [] and len(pacs.got) == 1


def test_what_a_peer_refuses_is_listed_and_not_tried_again(tmp_path: Path, results: Put) -> None:
    with Peer() as pacs:
        pacs.statuses = [0xC001]
        settings = node_settings(tmp_path, **to(pacs.port))
        queue = queue_of(settings)
        results(queue, 1)
        results(queue, 2)
        with Sending(settings, queue):
            await_(lambda: queue.counts()["done"] == 1)
        (failed,) = queue_file.failures(settings.queue)
        assert "0xC001" in failed.why and failed.retriable
        assert len(pacs.got) == 2
        assert queue_file.retry_failures(settings.queue) == 1
        with Sending(settings, queue):
            await_(lambda: queue.counts()["done"] == 2)
        assert len(pacs.got) == 4


def test_what_is_there_already_is_done(tmp_path: Path, results: Put) -> None:
    with Peer() as pacs:
        pacs.statuses = [0x0111, 0x0111]
        settings = node_settings(tmp_path, **to(pacs.port))
        queue = queue_of(settings)
        results(queue, 1)
        with Sending(settings, queue):
            await_(lambda: queue.counts()["done"] == 1)


def test_a_peer_that_takes_no_secondary_captures_says_so(tmp_path: Path, results: Put) -> None:
    entity = AE("PACS")
    entity.add_supported_context(Comprehensive3DSRStorage)
    server: Any = entity.start_server(
        (HERE, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    settings = node_settings(tmp_path, **to(server.socket.getsockname()[1]))
    queue = queue_of(settings)
    results(queue, 1)
    with Sending(settings, queue):
        await_(lambda: queue.counts()["failed"] == 1)
    server.shutdown()
    (failed,) = queue_file.failures(settings.queue)
    assert "takes no Secondary Capture Image Storage" in failed.why


class Stow:
    """A DICOMweb server that answers STOW with what it is told."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        stow = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = bytearray()
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body += self.rfile.read(int(self.headers["Content-Length"]))
                status, said = stow.answers.pop(0) if stow.answers else (200, {})
                if status == 200:
                    stow.bodies.append(bytes(body))
                stow.headers.append(dict(self.headers))
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((HERE, 0), Handler)
        self.url = f"http://{HERE}:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stow() -> Iterator[Stow]:
    made = Stow()
    yield made
    made.server.shutdown()
    made.server.server_close()


def web(url: str, **more: Any) -> dict[str, Any]:
    waits = {"first_wait_s": 0.05, "longest_wait_s": 0.2}
    return {"answer": {"web": {"url": url} | more} | waits}


def failed_because(reason: int) -> dict[str, Any]:
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def test_a_web_server_gets_them_by_stow(tmp_path: Path, results: Put, stow: Stow) -> None:
    (tmp_path / "secret").write_text("Bearer abc\n")
    settings = node_settings(tmp_path, **web(stow.url, authorization_file=tmp_path / "secret"))
    queue = queue_of(settings)
    uids = results(queue, 1)
    # Down, without room, and there already: by status, and within an answer.
    stow.answers = [
        (503, {}),
        (401, {}),
        (302, {}),
        (200, failed_because(0xA700)),
        (409, failed_because(0x0111)),
    ]
    with Sending(settings, queue):
        await_(lambda: queue.counts()["done"] == 1)
    assert stow.answers == []
    assert uids[1].encode() in stow.bodies[-1]
    assert {headers["Authorization"] for headers in stow.headers} == {"Bearer abc"}


def test_what_a_web_server_refuses_is_listed(tmp_path: Path, results: Put, stow: Stow) -> None:
    settings = node_settings(tmp_path, **web(stow.url))
    queue = queue_of(settings)
    stow.answers = [(409, failed_because(0xC122)), (200, failed_because(0xA900)), (415, {})]
    for number in range(3):
        results(queue, number)
    with Sending(settings, queue):
        await_(lambda: queue.counts()["failed"] == 3)
    whys = sorted(one.why.removeprefix(stow.url) for one in queue_file.failures(settings.queue))
    assert whys == [
        " answers 0xA900",
        " answers 409, reason 0xC122",
        " answers 415, reason 0x0000",
    ]
    assert stow.answers == []
