"""C-STORE into the queue: who may, how much, and what is said when."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from common.errors import InputError
from serving.dicom_node import disk_queue
from serving.dicom_node.receiving import OUT_OF_RESOURCES, transfer_syntaxes
from tests.pipeline.deidentify.radiographs import another, compressed, radiograph
from tests.serving.dicom_node.peers import (
    HERE,
    association,
    node_settings,
    queue_of,
    receiving,
)

pytestmark = pytest.mark.waits


def test_an_image_is_in_the_queue_when_success_is_said(tmp_path: Path) -> None:
    settings = node_settings(tmp_path)
    queue = queue_of(settings)
    sent = [another(1), another(2)]
    with receiving(settings, queue) as node, association(node.port) as pacs:
        assert pacs.send_c_echo().Status == 0
        for image in [*sent, sent[0]]:
            assert pacs.send_c_store(image).Status == 0
    assert queue.counts()["waiting"] == 2
    for image in sent:
        item = queue.begin_answer()
        assert item is not None and item.uid == image.SOPInstanceUID
        kept = pydicom.dcmread(item.image)
        assert kept.PixelData == image.PixelData
        assert kept.PatientName == image.PatientName
        queue.fail(item.uid, "seen")


def test_compressed_images_come_as_they_are(tmp_path: Path) -> None:
    settings = node_settings(tmp_path)
    queue = queue_of(settings)
    image = compressed()
    syntaxes = [JPEGBaseline8Bit]
    if JPEGBaseline8Bit not in transfer_syntaxes():
        pytest.skip("the extra dicom-jpeg isn't installed")
    with receiving(settings, queue) as node, association(node.port, syntaxes=syntaxes) as pacs:
        assert pacs.send_c_store(image).Status == 0
    item = queue.begin_answer()
    assert item is not None
    kept = pydicom.dcmread(item.image)
    assert kept.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert kept.PixelData == image.PixelData


@pytest.mark.parametrize(
    ("calling", "called", "host", "admitted"),
    [
        ("PACS", "CXR", HERE, True),
        ("OTHER", "CXR", HERE, False),
        ("PACS", "OTHER", HERE, False),
        ("PACS", "CXR", "192.0.2.1", False),
    ],
)
def test_only_peers_by_name_and_place_are_let_in(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    calling: str,
    called: str,
    host: str,
    admitted: bool,
) -> None:
    # A second peer is here, so that the connection as such is allowed.
    peers = {"pacs": {"ae_title": "PACS", "host": host, "port": 1}}
    peers["here"] = {"ae_title": "HERE", "host": HERE}
    settings = node_settings(tmp_path, peers=peers)
    queue = queue_of(settings)
    with receiving(settings, queue) as node, association(node.port, calling, called) as pacs:
        assert pacs.is_established is admitted
        # On a busy machine pynetdicom sees the connection's end before the refusal that came first.
        assert (pacs.is_rejected or pacs.is_aborted) is not admitted
    assert ("was refused" in caplog.text) is not admitted
    with receiving(settings, queue) as node, association(node.port, "HERE") as here:
        assert here.is_established


def test_a_host_that_is_no_peers_isnt_listened_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = node_settings(
        tmp_path, peers={"pacs": {"ae_title": "PACS", "host": "192.0.2.1", "port": 1}}
    )
    with receiving(settings, queue_of(settings)) as node, association(node.port) as pacs:
        assert not pacs.is_established and not pacs.is_rejected
    assert "no peer's" in caplog.text


def test_senders_are_those_that_are_named(tmp_path: Path) -> None:
    peers = {
        "pacs": {"ae_title": "PACS", "host": HERE, "port": 1},
        "room": {"ae_title": "ROOM", "host": HERE},
    }
    settings = node_settings(tmp_path, peers=peers, receive={"port": 0, "senders": ["room"]})
    with receiving(settings, queue_of(settings)) as node:
        with association(node.port, "PACS") as pacs:
            assert pacs.is_rejected
        with association(node.port, "ROOM") as room:
            assert room.is_established


def test_a_full_queue_tells_the_sender_to_come_again(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, limits={"instances": 1, "stop_s": 2})
    queue = queue_of(settings)
    with receiving(settings, queue) as node, association(node.port) as pacs:
        assert pacs.send_c_store(another(1)).Status == 0
        assert pacs.send_c_store(another(2)).Status == OUT_OF_RESOURCES
        # What is known takes no room.
        assert pacs.send_c_store(another(1)).Status == 0
        item = queue.begin_answer()
        assert item is not None
        queue.fail(item.uid, "lateral")
        assert pacs.send_c_store(another(2)).Status == 0


def test_a_disk_that_fails_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = node_settings(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk_queue, "write_durably", broken)
    with receiving(settings, queue_of(settings)) as node, association(node.port) as pacs:
        assert pacs.send_c_store(another(1)).Status == 0x0110


def test_an_image_beyond_the_limit_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = another(1), another(2)
    large.PixelData = bytes(300_000)
    content = BytesIO()
    pydicom.dcmwrite(content, small, enforce_file_format=True)
    limits = {"instance_bytes": len(content.getvalue()) + 1000, "stop_s": 2, "pdu_bytes": 4096}
    settings = node_settings(tmp_path, limits=limits)
    queue = queue_of(settings)
    with receiving(settings, queue) as node:
        with association(node.port) as pacs:
            assert pacs.send_c_store(small).Status == 0
            # Of each image, and not of all of an association.
            assert pacs.send_c_store(another(3)).Status == 0
            assert not pacs.send_c_store(large)
        assert "cut off" in caplog.text
        with association(node.port) as pacs:
            assert pacs.is_established
    assert queue.counts()["waiting"] == 2


def test_a_message_of_gigabytes_isnt_waited_for(tmp_path: Path) -> None:
    settings = node_settings(tmp_path)
    with (
        receiving(settings, queue_of(settings)) as node,
        socket.create_connection((HERE, node.port), 10) as client,
    ):
        client.sendall(struct.pack(">BBL", 1, 0, 2**31))
        client.settimeout(10)
        assert client.recv(100) == b""


def test_a_client_that_stops_amid_a_message_is_let_go(tmp_path: Path) -> None:
    limits = {"network_s": 0.3, "acse_s": 0.3, "associations": 1, "stop_s": 2}
    settings = node_settings(tmp_path, limits=limits)
    with (
        receiving(settings, queue_of(settings)) as node,
        socket.create_connection((HERE, node.port), 10) as client,
    ):
        client.sendall(struct.pack(">BBL", 1, 0, 200))
        client.settimeout(20)
        assert client.recv(100) == b""
        for _ in range(100):
            with association(node.port) as pacs:
                if pacs.is_established:
                    break
            time.sleep(0.05)
        else:
            pytest.fail("its place is not free again")


def test_more_associations_than_the_limit_are_refused(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, limits={"associations": 1, "stop_s": 2})
    with receiving(settings, queue_of(settings)) as node, association(node.port) as first:
        assert first.is_established
        with association(node.port) as second:
            assert second.is_rejected
        assert first.send_c_echo().Status == 0


def test_names_of_patients_stay_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = node_settings(tmp_path)
    with receiving(settings, queue_of(settings)) as node, association(node.port) as pacs:
        assert pacs.send_c_store(radiograph()).Status == 0
        assert pacs.send_c_store(radiograph(PatientID="another")).Status == 0
    assert "1.2.3.4.5.6.7.3" in caplog.text and "other bytes" in caplog.text
    assert not [word for word in ("Mueller", "Hannelore", "PAT-4711") if word in caplog.text]


def test_a_stop_ends_associations_that_go_on(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, limits={"stop_s": 0.2})
    with contextlib.ExitStack() as still_open:
        with receiving(settings, queue_of(settings)) as node:
            pacs = still_open.enter_context(association(node.port))
            assert pacs.is_established
        end = time.monotonic() + 20
        while pacs.is_established and time.monotonic() < end:
            time.sleep(0.05)
        assert pacs.is_aborted


def test_a_port_that_is_taken_is_the_users_to_mend(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        settings = node_settings(tmp_path, receive={"port": taken.getsockname()[1]})
        with (
            pytest.raises(InputError, match=r"receive: can't listen on 127\.0\.0\.1"),
            receiving(settings, queue_of(settings)),
        ):
            pass
