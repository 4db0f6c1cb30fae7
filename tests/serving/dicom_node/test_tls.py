"""TLS both ways, with certificates made here."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from serving.dicom_node import queue_file
from serving.dicom_node.settings import Tls
from serving.dicom_node.tls import client_context, server_context
from tests.pipeline.deidentify.radiographs import another
from tests.serving.dicom_node.certificates import Authority
from tests.serving.dicom_node.peers import (
    HERE,
    Peer,
    association,
    node_settings,
    queue_of,
    receiving,
)
from tests.serving.dicom_node.test_node import await_, running

pytestmark = pytest.mark.waits


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_node(folder: Path, authority: Authority, port: int = 1, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "peers": {"pacs": {"ae_title": "PACS", "host": HERE, "port": port}},
        "receive": {"port": 0, "tls": True},
        "answer": {"peer": "pacs", "tls": True, "first_wait_s": 0.05, "longest_wait_s": 0.1},
        "tls": authority.sign("node"),
    }
    return node_settings(folder, **(given | changes))


def test_images_come_and_results_go_over_tls(tmp_path: Path, authority: Authority) -> None:
    pacs = Tls.model_validate(authority.sign("pacs"))
    with Peer(tls=server_context(pacs)) as peer:
        settings = tls_node(tmp_path, authority, peer.port)
        with (
            running(settings) as node,
            association(node.port or 0, tls=client_context(pacs)) as sender,
        ):
            assert sender.send_c_store(another(1)).Status == 0
            await_(lambda: queue_file.counts(settings.queue)["done"] == 1)
        assert len(peer.got) == 2


def without_certificate(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def of_another_authority(folder: Path, authority: Authority) -> ssl.SSLContext:
    context = without_certificate(authority)
    files = Authority(folder, "other").sign("stranger")
    context.load_cert_chain(files["certificate"], files["key"])
    return context


@pytest.mark.parametrize("how", ["plain", "without certificate", "another authority", "old TLS"])
def test_who_has_no_certificate_of_the_authority_stays_out(
    tmp_path: Path, authority: Authority, how: str
) -> None:
    settings = tls_node(tmp_path, authority)
    context: ssl.SSLContext | None = None
    if how == "without certificate":
        context = without_certificate(authority)
    elif how == "another authority":
        context = of_another_authority(tmp_path, authority)
    elif how == "old TLS":
        context = client_context(Tls.model_validate(authority.sign("pacs")))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    queue = queue_of(settings)
    with receiving(settings, queue) as node:
        with association(node.port, tls=context) as stranger:
            assert not stranger.is_established or not stranger.send_c_store(another(1))
        good = client_context(Tls.model_validate(authority.sign("pacs")))
        with association(node.port, tls=good) as pacs:
            assert pacs.is_established
    assert queue.counts()["waiting"] == 0


def test_a_client_that_never_shakes_hands_holds_nobody_up(
    tmp_path: Path, authority: Authority
) -> None:
    settings = tls_node(tmp_path, authority)
    good = client_context(Tls.model_validate(authority.sign("pacs")))
    with (
        receiving(settings, queue_of(settings)) as node,
        socket.create_connection((HERE, node.port), 10),
        association(node.port, tls=good) as pacs,
    ):
        assert pacs.is_established


def test_results_go_to_nobody_else(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Tls.model_validate(Authority(tmp_path, "other").sign("stranger"))
    with Peer(tls=server_context(stranger)) as peer:
        settings = tls_node(tmp_path, authority, peer.port, receive={"port": 0})
        with running(settings) as node, association(node.port or 0) as sender:
            assert sender.send_c_store(another(1)).Status == 0
            await_(lambda: "can't be reached; next try" in caplog.text)
        assert peer.got == []
        assert queue_file.counts(settings.queue)["answered"] == 1


def test_files_that_are_no_certificates_are_named(tmp_path: Path, authority: Authority) -> None:
    files = authority.sign("node")
    wrong = tmp_path / "wrong"
    with pytest.raises(InputError, match=f"tls: {wrong} is not there"):
        server_context(Tls.model_validate(files | {"ca": wrong}))
    wrong.write_text("no PEM")
    with pytest.raises(InputError, match="no certificate with its key"):
        server_context(Tls.model_validate(files | {"key": wrong}))
    with pytest.raises(InputError, match="no certificates in PEM"):
        client_context(Tls.model_validate(files | {"ca": wrong}))
