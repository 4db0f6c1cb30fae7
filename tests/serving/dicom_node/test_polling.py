"""Looks at a DICOMweb server: every page, each image once, no more than there is room for."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import requests
from pydicom.dataset import Dataset

from serving.dicom_node.disk_queue import DiskQueue, QueueFullError
from serving.dicom_node.polling import Poller
from serving.dicom_node.settings import NodeSettings
from serving.dicom_node.web import web_client
from serving.dicom_results.files import encoded
from tests.pipeline.deidentify.radiographs import another
from tests.serving.dicom_node.peers import HERE, node_settings, queue_of

pytestmark = pytest.mark.waits

PAGE = 2


class Archive:
    """A server that gives two instances an answer, and takes or ignores the offset."""

    def __init__(self) -> None:
        self.images: list[Dataset] = []
        self.asked: list[dict[str, list[str]]] = []
        self.fetched: list[str] = []
        self.with_offset = True
        self.damaged = ""
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place = urlparse(self.path)
                if place.path.endswith("/instances"):
                    content = archive.found(parse_qs(place.query))
                    kind = "application/dicom+json"
                else:
                    content = archive.instance(place.path.rsplit("/", 1)[1])
                    kind = 'multipart/related; type="application/dicom"; boundary=BOUND'
                self.send_response(200 if content else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((HERE, 0), Handler)
        self.url = f"http://{HERE}:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def found(self, query: dict[str, list[str]]) -> bytes:
        self.asked.append(query)
        images = [one for one in self.images if one.Modality == query["Modality"][0]]
        start = int(query["offset"][0]) if self.with_offset and "offset" in query else 0
        keys = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        answers = []
        for image in images[start : start + PAGE]:
            header = Dataset()
            for key in keys:
                setattr(header, key, image[key].value)
            answers.append(header.to_json_dict())
        return json.dumps(answers).encode()

    def instance(self, uid: str) -> bytes:
        self.fetched.append(uid)
        for image in self.images:
            if image.SOPInstanceUID == uid != self.damaged:
                head = b"--BOUND\r\nContent-Type: application/dicom\r\n\r\n"
                return head + encoded(image) + b"\r\n--BOUND--"
        return b""


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive()
    made.images = [another(number) for number in range(5)]
    yield made
    made.server.shutdown()
    made.server.server_close()


def poller(folder: Path, archive: Archive, **limits: Any) -> tuple[Poller, DiskQueue]:
    settings: NodeSettings = node_settings(
        folder,
        receive=None,
        poll={"url": archive.url, "since": datetime.date(2026, 11, 1), "every_s": 0.05},
        limits=limits,
    )
    assert settings.poll is not None
    queue = queue_of(settings)
    client = web_client(settings, settings.poll, settings.limits)
    return Poller(queue, client, settings.poll), queue


def test_every_page_is_read_and_each_image_fetched_once(tmp_path: Path, archive: Archive) -> None:
    looking, queue = poller(tmp_path, archive)
    never = threading.Event()
    assert looking.look(never) == 5
    assert looking.look(never) == 0
    archive.images.append(another(9, Modality="CR"))
    assert looking.look(never) == 1
    assert sorted(archive.fetched) == sorted(str(one.SOPInstanceUID) for one in archive.images)
    assert archive.asked[0]["StudyDate"] == ["20261101-"]
    assert {query["Modality"][0] for query in archive.asked} == {"CR", "DX"}
    assert queue.counts()["waiting"] == 6


def test_a_server_that_ignores_the_offset_is_not_asked_for_ever(
    tmp_path: Path, archive: Archive
) -> None:
    archive.with_offset = False
    looking, _ = poller(tmp_path, archive)
    assert looking.look(threading.Event()) == PAGE


def test_a_full_queue_ends_the_look_before_more_is_fetched(
    tmp_path: Path, archive: Archive
) -> None:
    looking, queue = poller(tmp_path, archive, instances=3)
    with pytest.raises(QueueFullError):
        looking.look(threading.Event())
    assert len(archive.fetched) == queue.counts()["waiting"] == 3


def test_an_image_that_cant_be_fetched_holds_the_others_up_not(
    tmp_path: Path, archive: Archive
) -> None:
    archive.damaged = str(archive.images[1].SOPInstanceUID)
    looking, _ = poller(tmp_path, archive)
    assert looking.look(threading.Event()) == 4
    archive.damaged = ""
    assert looking.look(threading.Event()) == 1


def test_an_answer_beyond_the_limit_is_not_read(tmp_path: Path, archive: Archive) -> None:
    archive.images[0].add_new("PixelData", "OW", bytes(2 << 20))
    looking, queue = poller(tmp_path, archive, instance_bytes=1 << 20)
    assert looking.look(threading.Event()) == 4
    assert archive.images[0].SOPInstanceUID not in queue.known(
        [str(one.SOPInstanceUID) for one in archive.images]
    )


def test_a_server_that_is_down_is_asked_again(
    tmp_path: Path,
    archive: Archive,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looking, queue = poller(tmp_path, archive)
    real, failed, stop = looking.look, threading.Event(), threading.Event()

    def look(stopped: threading.Event) -> int:
        if not failed.is_set():
            failed.set()
            raise requests.ConnectionError("patient=Mueller")
        new = real(stopped)
        stop.set()
        return new

    monkeypatch.setattr(looking, "look", look)
    looking.run(stop)
    assert queue.counts()["waiting"] == 5
    assert "can't be asked: ConnectionError" in caplog.text and "Mueller" not in caplog.text
