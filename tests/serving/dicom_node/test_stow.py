"""STOW-RS into the queue: who may, how much, and what is said when."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from common.errors import InputError
from serving.dicom_node import disk_queue, queue_file
from serving.dicom_node.disk_queue import DiskQueue
from serving.dicom_node.settings import NodeSettings, Tls
from serving.dicom_node.stow import StowReceiver
from serving.dicom_node.tls import client_context
from serving.dicom_node.web import BoundedSession
from serving.dicom_results.files import encoded
from tests import dicoms
from tests.pipeline.deidentify.radiographs import another, radiograph
from tests.serving.dicom_node.certificates import Authority
from tests.serving.dicom_node.peers import HERE, Peer, in_thread, node_settings, queue_of
from tests.serving.dicom_node.test_multipart import TYPE, body
from tests.serving.dicom_node.test_node import await_, running

pytestmark = pytest.mark.waits

TAKEN, FAILED, OTHERS = "00081199", "00081198", "0008119A"


def web_settings(folder: Path, **changes: Any) -> NodeSettings:
    """A node that takes by STOW-RS alone."""
    return node_settings(folder, **({"receive": None, "stow": {"port": 0}} | changes))


def stowing(
    settings: NodeSettings, queue: DiskQueue
) -> contextlib.AbstractContextManager[StowReceiver]:
    return in_thread(StowReceiver(settings, queue))


def post(port: int, data: bytes, path: str = "/studies", **headers: str) -> requests.Response:
    given = {"Content-Type": TYPE} | {name.replace("_", "-"): to for name, to in headers.items()}
    return requests.post(f"http://{HERE}:{port}{path}", data=data, headers=given, timeout=30)


def listed(answer: requests.Response, tag: str) -> list[tuple[str, int | None]]:
    """UID and failure reason of a sequence's items."""
    items = answer.json().get(tag, {"Value": []})["Value"]
    return [
        (
            item.get("00081155", {"Value": [""]})["Value"][0],
            item.get("00081197", {"Value": [None]})["Value"][0],
        )
        for item in items
    ]


def as_file(image: Dataset) -> Dataset:
    """dicomweb-client writes data sets as files only where they were read from one."""
    return pydicom.dcmread(BytesIO(encoded(image)))


def uid_of(image: Dataset) -> str:
    return str(image.SOPInstanceUID)


def test_a_dicomweb_client_stores_images(tmp_path: Path) -> None:
    settings = web_settings(tmp_path)
    queue = queue_of(settings)
    images = [as_file(another(1)), as_file(another(2))]
    with stowing(settings, queue) as node:
        client = DICOMwebClient(f"http://{HERE}:{node.port}")
        said = client.store_instances(images)
        assert [item.ReferencedSOPInstanceUID for item in said.ReferencedSOPSequence] == [
            uid_of(image) for image in images
        ]
        assert "FailedSOPSequence" not in said
        # Again: harmless, and nothing more.
        client.store_instances(images, study_instance_uid=images[0].StudyInstanceUID)
    assert queue.counts()["waiting"] == 2
    for image in images:
        item = queue.begin_answer()
        assert item is not None and item.uid == uid_of(image)
        kept = pydicom.dcmread(item.image)
        assert kept.PixelData == image.PixelData
        queue.fail(item.uid, "seen")


def test_each_image_has_its_own_answer(tmp_path: Path) -> None:
    settings = web_settings(tmp_path, limits={"instance_bytes": 200_000, "stop_s": 2})
    queue = queue_of(settings)
    good, ct, large = another(1), another(2), another(3)
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CTImageStorage
    large.PixelData = bytes(300_000)
    contents = [encoded(ct), b"no DICOM", encoded(good), encoded(large), encoded(good)[:200]]
    with stowing(settings, queue) as node:
        answer = post(node.port, body(contents))
        assert answer.status_code == 202
        assert answer.headers["Content-Type"] == "application/dicom+json"
        assert listed(answer, TAKEN) == [(uid_of(good), None)]
        assert listed(answer, FAILED) == [(uid_of(ct), 0x0122)]
        assert listed(answer, OTHERS) == [("", 0xC000), ("", 0xA700), ("", 0xC000)]
        answer = post(node.port, body([encoded(ct)]))
        assert (answer.status_code, listed(answer, FAILED)) == (409, [(uid_of(ct), 0x0122)])
        answer = post(node.port, body([encoded(good)]), "/studies/1.2.3")
        assert (answer.status_code, listed(answer, FAILED)) == (409, [(uid_of(good), 0x0110)])
        answer = post(node.port, body([encoded(good)], kind="image/jpeg"))
        assert (answer.status_code, listed(answer, OTHERS)) == (409, [("", 0xC000)])
    assert queue.counts()["waiting"] == 1


def test_a_syntax_that_is_not_decoded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.dicom_node import stow

    monkeypatch.setattr(stow, "transfer_syntaxes", lambda: [])
    settings = web_settings(tmp_path)
    with stowing(settings, queue_of(settings)) as node:
        assert listed(post(node.port, body([encoded(another(1))])), FAILED)[0][1] == 0xC122


def test_a_deflated_image_is_taken(tmp_path: Path) -> None:
    """Its header is read within a bound; pydicom would inflate all of it."""
    settings = web_settings(tmp_path)
    queue = queue_of(settings)
    content = dicoms.encoded(dicoms.dataset(dicoms.phantom(8)), "deflated")
    with stowing(settings, queue) as node:
        assert post(node.port, body([content])).status_code == 200
    item = queue.begin_answer()
    assert item is not None and item.image.read_bytes() == content


def test_a_full_queue_tells_the_sender_to_come_again(tmp_path: Path) -> None:
    settings = web_settings(tmp_path, limits={"instances": 1, "stop_s": 2})
    queue = queue_of(settings)
    with stowing(settings, queue) as node:
        assert post(node.port, body([encoded(another(1))])).status_code == 200
        answer = post(node.port, body([encoded(another(2))]))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert listed(answer, FAILED) == [(uid_of(another(2)), 0xA700)]
        # What is known takes no room.
        assert post(node.port, body([encoded(another(1))])).status_code == 200
        item = queue.begin_answer()
        assert item is not None
        queue.fail(item.uid, "lateral")
        assert post(node.port, body([encoded(another(2))])).status_code == 200


def test_a_disk_that_fails_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = web_settings(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk_queue, "write_durably", broken)
    with stowing(settings, queue_of(settings)) as node:
        answer = post(node.port, body([encoded(another(1))]))
        assert (answer.status_code, listed(answer, FAILED)[0][1]) == (409, 0x0110)


def test_what_came_whole_before_a_body_broke_off_is_kept(tmp_path: Path) -> None:
    settings = web_settings(tmp_path)
    queue = queue_of(settings)
    with stowing(settings, queue) as node:
        whole = body([encoded(another(1)), encoded(another(2))])
        assert post(node.port, whole[:-100]).status_code == 400
        assert queue.counts()["waiting"] == 1
        assert post(node.port, whole).status_code == 200
    assert queue.counts()["waiting"] == 2


def test_another_host_is_refused_and_cannot_claim_to_be_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peers = {"pacs": {"ae_title": "PACS", "host": "192.0.2.1", "port": 1}}
    peers["room"] = {"ae_title": "ROOM", "host": HERE, "port": 1}
    settings = web_settings(tmp_path, peers=peers, stow={"port": 0, "senders": ["pacs"]})
    queue = queue_of(settings)
    with stowing(settings, queue) as node:
        for headers in ({}, {"X_Forwarded_For": "192.0.2.1"}):
            assert post(node.port, body([encoded(another(1))]), **headers).status_code == 403
    assert "127.0.0.1 was refused: it is no peer's" in caplog.text
    assert queue.counts()["waiting"] == 0


def test_the_authorization_is_asked_for(tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer abc\n")
    settings = web_settings(tmp_path, stow={"port": 0, "authorization_file": str(secret)})
    queue = queue_of(settings)
    content = body([encoded(another(1))])
    with stowing(settings, queue) as node:
        assert post(node.port, content).status_code == 401
        assert post(node.port, content, Authorization="Bearer abd").status_code == 401
        assert post(node.port, content, Authorization="Bearer abc").status_code == 200
    secret.write_text(" ")
    with pytest.raises(InputError, match="is empty"):
        StowReceiver(settings, queue)
    with pytest.raises(ValueError, match="authorization_file needs tls"):
        web_settings(tmp_path, stow={"authorization_file": str(secret), "host": "0.0.0.0"})


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "POST", {}, 404),
        ("/studies/../x", "POST", {}, 404),
        ("/studies", "GET", {}, 405),
        ("/studies", "POST", {"Content-Encoding": "gzip"}, 415),
        ("/studies", "POST", {"Content-Type": "application/dicom"}, 415),
    ],
)
def test_other_requests_are_refused(
    tmp_path: Path, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    settings = web_settings(tmp_path)
    with stowing(settings, queue_of(settings)) as node:
        answer = requests.request(
            method,
            f"http://{HERE}:{node.port}{path}",
            data=body([b"x"]),
            headers={"Content-Type": TYPE} | headers,
            timeout=30,
        )
        assert answer.status_code == status


def test_a_body_without_parts_and_one_with_too_many(tmp_path: Path) -> None:
    settings = web_settings(tmp_path, limits={"instances": 2, "stop_s": 2})
    with stowing(settings, queue_of(settings)) as node:
        assert post(node.port, body([])).status_code == 400
        assert post(node.port, body([b"x"] * 2)).status_code == 409
        assert post(node.port, body([b"x"] * 3)).status_code == 413


def test_a_client_that_stops_amid_a_body_is_let_go(tmp_path: Path) -> None:
    settings = web_settings(tmp_path, limits={"network_s": 0.3, "associations": 2, "stop_s": 2})
    head = f"POST /studies HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\nContent-Length: 999\r\n"
    with (
        stowing(settings, queue_of(settings)) as node,
        socket.create_connection((HERE, node.port), 10) as client,
        socket.create_connection((HERE, node.port), 10) as silent,
    ):
        client.sendall(head.encode() + b"\r\n--b0")
        client.settimeout(20)
        assert b" 408 " in client.recv(1000)
        silent.settimeout(20)
        assert silent.recv(100) == b""
        end = time.monotonic() + 20
        while post(node.port, body([encoded(another(1))])).status_code == 503:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_names_of_patients_stay_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = web_settings(tmp_path)
    wrong = encoded(radiograph()).replace(b"1.2.3.4.5.6.7.3", b"Mueller^Hannelo")
    with stowing(settings, queue_of(settings)) as node:
        for content in (encoded(radiograph()), encoded(radiograph(PatientID="another")), wrong):
            post(node.port, body([content]))
    assert "1.2.3.4.5.6.7.3" in caplog.text and "other bytes" in caplog.text
    assert "its UID is none" in caplog.text
    assert not [word for word in ("Mueller", "Hannelore", "PAT-4711") if word in caplog.text]


def test_images_come_by_tls_with_a_certificate_and_results_go_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pacs = Tls.model_validate(authority.sign("pacs"))
    with Peer() as peer:
        settings = web_settings(
            tmp_path,
            peers={"pacs": {"ae_title": "PACS", "host": HERE, "port": peer.port}},
            stow={"port": 0, "tls": True},
            tls=authority.sign("node"),
        )
        with running(settings) as node:
            url = f"https://localhost:{node.web_port}"
            stranger = ssl.create_default_context(cafile=str(authority.file))
            for context in (None, stranger):
                unknown = DICOMwebClient(url, session=BoundedSession(1000, context))
                # Else it would try again, for half a minute.
                unknown.set_http_retry_params(retry=False)
                with pytest.raises(requests.RequestException):
                    unknown.store_instances([another(1)])
            session = BoundedSession(10_000, client_context(pacs))
            DICOMwebClient(url, session=session).store_instances([as_file(another(1))])
            await_(lambda: queue_file.counts(settings.queue)["done"] == 1)
        assert len(peer.got) == 2


def test_a_port_that_is_taken_is_the_users_to_mend(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        settings = web_settings(tmp_path, stow={"port": taken.getsockname()[1]})
        with pytest.raises(InputError, match=r"stow: can't listen on 127\.0\.0\.1"):
            StowReceiver(settings, queue_of(settings))


def test_someone_has_to_be_let_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody may send"):
        web_settings(tmp_path, stow={"senders": []})
    with pytest.raises(ValueError, match="nobody there is called x"):
        web_settings(tmp_path, stow={"senders": ["x"]})
    with pytest.raises(ValueError, match="give certificate, key and ca"):
        web_settings(tmp_path, stow={"tls": True})
