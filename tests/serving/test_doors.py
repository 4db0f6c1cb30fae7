"""Who may come in, and what is written of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from common.errors import InputError
from serving.client import Client, ServerError
from serving.doors.audit import Audit, Entry, request_id
from serving.doors.keeper import Keeper, is_loopback
from serving.doors.tls import read_tls_config
from serving.doors.tokens import Tokens
from serving.process import free_port
from serving.protocol.status import ServingError
from serving.settings import DoorSettings
from tests.serving.dicom_node.certificates import Authority
from tests.serving.fakes import Loader, write_version
from tests.serving.in_thread import ThreadServer, server_in_thread, until

pytestmark = pytest.mark.waits

TOKEN, OTHER = "a" * 32, "b" * 40
BODY = b'{"instances": [1.0]}'
OUTSIDE = "0.0.0.0"


def _ssl_config(folder: Path, server: dict[str, str], ca: Path | None = None) -> Path:
    """TensorFlow Serving's file, with PEM in it."""

    def quoted(file: str | Path) -> str:
        return json.dumps(Path(file).read_text())

    lines = [
        f"server_key: {quoted(server['key'])}",
        f"server_cert: {quoted(server['certificate'])}",
    ]
    if ca is not None:
        lines += [f"custom_ca: {quoted(ca)}", "client_verify: true"]
    file = folder / "ssl.config"
    file.write_text("\n".join(lines))
    return file


def _tokens(folder: Path, *lines: str) -> Path:
    file = folder / "tokens"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_version(tmp_path / "models" / "m", 7)
    return tmp_path / "models"


def _post(server: ThreadServer, **named: Any) -> requests.Response:
    return requests.post(f"{server.url}/v1/models/m:predict", data=BODY, timeout=10, **named)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _audited(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_only_who_has_a_token_is_answered(models: Path, tmp_path: Path) -> None:
    file = _tokens(tmp_path, "# of the PACS", "", f"pacs {TOKEN}", f"desk {OTHER}")
    audit = tmp_path / "audit.jsonl"
    doors = DoorSettings(token_file=file, audit_file=audit)
    with server_in_thread(Loader(), model_dir=models, doors=doors) as server:
        for headers in ({}, _bearer("c" * 32), {"Authorization": f"Basic {TOKEN}"}, _bearer("")):
            refused = _post(server, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer" in refused.json()["error"]
        for path in ("/v1/models/m", "/v2/models/m", "/monitoring/prometheus/metrics"):
            assert requests.get(server.url + path, timeout=10).status_code == 401
        # Who watches the process needs none.
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert requests.get(server.url + path, timeout=10).status_code == 200
        assert _post(server, headers=_bearer(TOKEN)).json() == {"predictions": [2.0]}
        until(lambda: _audited(audit)[-1]["status"] == "200")
    assert {entry["who"] for entry in _audited(audit)} == {"-", "token pacs"}
    assert TOKEN not in audit.read_text()


def test_tokens_are_read_again_and_the_old_ones_stay_where_that_fails(tmp_path: Path) -> None:
    file = _tokens(tmp_path, f"pacs {TOKEN}")
    tokens = Tokens(file)
    assert tokens.name_of(f"Bearer {TOKEN}") == "pacs"
    _tokens(tmp_path, f"pacs {OTHER}", f"desk {TOKEN}")
    assert tokens.name_of(f"bearer {TOKEN}") == "desk"
    for broken in (["pacs short"], [], ["pacs"], [f"pacs {OTHER} more"]):
        _tokens(tmp_path, *broken)
        os.utime(file, ns=(0, len(broken) + len(str(broken))))
        assert tokens.name_of(f"Bearer {OTHER}") == "pacs"
    file.unlink()
    assert tokens.name_of(f"Bearer {OTHER}") == "pacs"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(_tokens(tmp_path_factory.mktemp("tokens"), f"pacs {TOKEN}"))


@given(text=st.text(max_size=60))
def test_nothing_but_a_token_is_one(known: Tokens, text: str) -> None:
    tokens = known
    assert tokens.name_of(text) is None
    assert (tokens.name_of(f"Bearer {text}") == "pacs") == (text.strip() == TOKEN)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has no token"),
        (["# nothing"], "has no token"),
        (["pacs"], "line 1: write a name, a blank and a token"),
        (["", "a/b " + TOKEN], "line 2: write a name"),
        (["pacs short"], "less than 32 characters; make one by `openssl rand -hex 32`"),
    ],
)
def test_wrong_tokens_are_told(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        Tokens(_tokens(tmp_path, *lines))
    with pytest.raises(InputError, match="can't be read"):
        Tokens(tmp_path / "absent")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("host.example", False),
    ],
)
def test_which_addresses_are_this_machines_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_other_addresses_ask_for_doors_unless_told_otherwise(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    one_way = _ssl_config(tmp_path, ca.sign("server"))
    tokens = _tokens(tmp_path, f"pacs {TOKEN}")
    Keeper(DoorSettings(), "127.0.0.1")
    Keeper(DoorSettings(ssl_config_file=one_way, token_file=tokens), OUTSIDE)
    Keeper(DoorSettings(without_tls=True, token_file=tokens), OUTSIDE)
    Keeper(DoorSettings(without_tls=True, without_authentication=True), OUTSIDE)
    for settings, said in (
        (DoorSettings(), "TLS .give --ssl-config-file.*and for clients that say who they are"),
        (DoorSettings(token_file=tokens), "that asks for TLS"),
        (DoorSettings(ssl_config_file=one_way), "asks for clients that say who they are"),
        (DoorSettings(without_authentication=True), "--insecure-without-tls to do without"),
    ):
        with pytest.raises(InputError, match=said):
            Keeper(settings, OUTSIDE)
    mutual = _ssl_config(tmp_path, ca.sign("server"), ca.file)
    Keeper(DoorSettings(ssl_config_file=mutual), OUTSIDE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "server_kee: 1", "is no SSLConfig"),
        (lambda text: "", "server_key in .* must be PEM itself"),
        (lambda text: text.replace("BEGIN ", "BEG ", 1), "server_key in .* must be PEM itself"),
        (lambda text: text + '\ncustom_ca: "ca.pem"', "custom_ca in .* must be PEM itself"),
        (lambda text: text.replace("MIGH", "AAAA"), "are no certificate with its key"),
    ],
)
def test_a_wrong_ssl_config_is_told(change: Any, said: str, tmp_path: Path) -> None:
    file = _ssl_config(tmp_path, Authority(tmp_path).sign("server"))
    text = file.read_text()
    assert read_tls_config(file).server_cert.startswith("-----BEGIN")
    file.write_text(change(text))
    with pytest.raises(InputError, match=said):
        read_tls_config(file)
    with pytest.raises(InputError, match="can't be read"):
        read_tls_config(tmp_path / "absent")


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    mixed = {**ca.sign("server"), "key": ca.sign("other")["key"]}
    with pytest.raises(InputError, match="are no certificate with its key"):
        read_tls_config(_ssl_config(tmp_path, mixed))


@pytest.fixture
def mutual(tmp_path: Path, models: Path) -> Iterator[tuple[ThreadServer, int, Path]]:
    """A server that wants a certificate; its gRPC port; its audit."""
    ca = Authority(tmp_path)
    ca.sign("client")
    config = _ssl_config(tmp_path, ca.sign("server"), ca.file)
    audit = tmp_path / "audit.jsonl"
    doors = DoorSettings(ssl_config_file=config, audit_file=audit)
    port = free_port()
    with server_in_thread(
        Loader(), ca=ca.file, model_dir=models, doors=doors, grpc_port=port
    ) as server:
        yield server, port, audit


def test_a_certificate_says_who_asks(
    mutual: tuple[ThreadServer, int, Path], tmp_path: Path
) -> None:
    server, port, audit = mutual
    files = (str(tmp_path / "client.crt"), str(tmp_path / "client.key"))
    ca = str(tmp_path / "ca.pem")
    answer = _post(server, verify=ca, cert=files)
    assert answer.json() == {"predictions": [2.0]}
    # Without one, or with another CA's, there is no connection.
    other = Authority(tmp_path, "elsewhere").sign("stranger")
    for cert in (None, (other["certificate"], other["key"])):
        with pytest.raises(requests.ConnectionError):
            _post(server, verify=ca, cert=cert)
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url.replace("https", "http"), timeout=10)
    read = [Path(file).read_bytes() for file in (ca, files[1], files[0])]
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(*read)) as channel:
        asked = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        assert asked(_predict(), timeout=20).model_spec.version.value == 7
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(read[0])) as channel:
        asked = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        with pytest.raises(grpc.RpcError):
            asked(_predict(), timeout=5)
    until(lambda: len(_audited(audit)) == 2)
    assert [(e["api"], e["who"], e["status"]) for e in _audited(audit)] == [
        ("rest", "certificate client", "200"),
        ("grpc", "certificate client", "OK"),
    ]


def test_an_idle_client_does_not_hold_up_the_end(models: Path, tmp_path: Path) -> None:
    """It answers TLS's end only when it reads again, and the limit would be ten minutes."""
    ca = Authority(tmp_path)
    doors = DoorSettings(_ssl_config(tmp_path, ca.sign("server")))
    with (
        server_in_thread(
            Loader(), ca=ca.file, model_dir=models, doors=doors, shutdown_s=600.0
        ) as server,
        requests.Session() as session,
    ):
        answer = session.get(f"{server.url}/v1/models/m", verify=str(ca.file), timeout=10)
        assert answer.status_code == 200
        server.stop()


def _predict(name: str = "m") -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones(1, np.float32)))
    return request


def test_grpc_asks_for_the_token_too_and_is_audited(models: Path, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    doors = DoorSettings(token_file=_tokens(tmp_path, f"pacs {TOKEN}"), audit_file=audit)
    port = free_port()
    with (
        server_in_thread(Loader(), model_dir=models, doors=doors, grpc_port=port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        asked = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        metadata: tuple[tuple[str, str], ...]
        for metadata in ((), (("authorization", f"Bearer {OTHER}"),)):
            with pytest.raises(grpc.RpcError) as refused:
                asked(_predict(), metadata=metadata, timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {TOKEN}"), ("x-request-id", "mine"))
        answer, call = asked.with_call(_predict(), metadata=metadata, timeout=20)
        assert dict(call.initial_metadata())["x-request-id"] == "mine"
        with pytest.raises(grpc.RpcError):
            asked(_predict("patient-name"), metadata=metadata, timeout=20)
        ready: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        assert ready(b"", timeout=20) == b"\x08\x01"
        until(lambda: len(_audited(audit)) == 4)
    first, _, third, last = _audited(audit)
    assert (first["status"], first["who"], first["model"]) == ("UNAUTHENTICATED", "-", "")
    assert (third["id"], third["who"], third["asked"]) == ("mine", "token pacs", "Predict")
    assert (third["model"], third["version"], third["status"]) == ("m", 7, "OK")
    assert third["answer_sha256"] == hashlib.sha256(answer.SerializeToString()).hexdigest()
    assert (last["model"], last["status"]) == ("", "NOT_FOUND")
    assert "patient-name" not in audit.read_text()


def test_a_line_tells_a_request_by_its_digests_and_nothing_of_a_patient(
    models: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    doors = DoorSettings(audit_file=audit)
    with server_in_thread(Loader(), model_dir=models, doors=doors) as server:
        answer = _post(server, headers={"X-Request-ID": "study-1"})
        assert answer.headers["X-Request-ID"] == "study-1"
        requests.get(f"{server.url}/v1/models/Doe%5EJane?id=123", timeout=10)
        requests.get(f"{server.url}/Doe", timeout=10)
        until(lambda: len(_audited(audit)) == 3)
    first, second, third = _audited(audit)
    assert first.pop("seconds") >= 0
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "id": "study-1",
        "who": "-",
        "client": "127.0.0.1",
        "api": "rest",
        "asked": "predict",
        "model": "m",
        "version": 7,
        "status": "200",
        "request_sha256": hashlib.sha256(BODY).hexdigest(),
        "answer_sha256": hashlib.sha256(answer.content).hexdigest(),
    }
    assert (second["status"], second["model"], second["asked"]) == ("404", "", "status")
    assert (third["status"], third["request_sha256"]) == ("404", None)
    assert "Doe" not in audit.read_text()
    assert "123" not in json.dumps([second["model"], second["asked"], third["asked"]])


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "line\nbreak", "ü"])
def test_an_id_that_cannot_be_logged_is_replaced(given: str | None) -> None:
    made = request_id(given)
    assert made != given
    assert len(made) == 32
    assert request_id("a-1.b:c/d+e=") == "a-1.b:c/d+e="


def test_where_the_audit_cannot_be_written_the_log_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Entry("i", "-", "c", "rest", "predict", "m", 1, "200", None, None, 0.1)
    with pytest.raises(InputError, match="audit-file"):
        Audit(tmp_path / "absent" / "audit")
    (tmp_path / "logs").mkdir()
    audit = Audit(tmp_path / "logs" / "audit")
    audit.write(entry)
    # Whoever rotates it moves it away.
    (tmp_path / "logs" / "audit").rename(tmp_path / "logs" / "audit.1")
    audit.write(entry)
    assert len(_audited(tmp_path / "logs" / "audit")) == 1
    (tmp_path / "logs" / "audit").unlink()
    (tmp_path / "logs" / "audit").mkdir()
    audit.write(entry)
    assert '"id": "i"' in caplog.text
    with caplog.at_level(logging.INFO, "cxr.audit"):
        Audit().write(entry)
    assert caplog.text.count('"id": "i"') == 2


def test_one_client_leaves_room_for_others(models: Path, tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, f"pacs {TOKEN}", f"desk {OTHER}")
    doors = DoorSettings(token_file=tokens, client_requests=2)
    loader = Loader()
    with (
        server_in_thread(loader, model_dir=models, doors=doors) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        (servable,) = loader.servables.values()
        servable.go.clear()
        held = [threads.submit(_post, server, headers=_bearer(TOKEN)) for _ in range(2)]
        metrics = f"{server.url}/monitoring/prometheus/metrics"
        # Two are under way once a third is refused. It asks what is answered at once.
        status = f"{server.url}/v1/models/m"
        headers = _bearer(TOKEN)
        until(lambda: requests.get(status, headers=headers, timeout=10).status_code == 429)
        refused = _post(server, headers=_bearer(TOKEN))
        assert refused.headers["Retry-After"] == "1"
        assert "2 requests of this client" in refused.json()["error"]
        assert requests.get(metrics, headers=_bearer(OTHER), timeout=10).status_code == 200
        servable.go.set()
        assert [one.result().status_code for one in held] == [200, 200]
        assert _post(server, headers=_bearer(TOKEN)).status_code == 200


def test_requests_are_counted_down_whatever_comes_of_them() -> None:
    keeper = Keeper(DoorSettings(client_requests=1), "127.0.0.1")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), keeper.counted("a"):
            raise ZeroDivisionError
    with keeper.counted("a"):
        with keeper.counted("b"):
            pass
        with pytest.raises(ServingError, match="1 requests of this client"), keeper.counted("a"):
            pass
    assert not keeper._under_way
    unbounded = Keeper(DoorSettings(), "127.0.0.1")
    barrier = threading.Barrier(8)

    def ask() -> None:
        with unbounded.counted("a"):
            barrier.wait(10)

    with ThreadPoolExecutor(8) as threads:
        for one in [threads.submit(ask) for _ in range(8)]:
            one.result()


def test_a_preflight_needs_no_token(models: Path, tmp_path: Path) -> None:
    doors = DoorSettings(token_file=_tokens(tmp_path, f"pacs {TOKEN}"))
    with server_in_thread(Loader(), model_dir=models, doors=doors) as server:
        url = f"{server.url}/v1/models/m:predict"
        origin = {"Origin": "https://viewer.example"}
        assert requests.options(url, headers=origin, timeout=10).status_code == 200


def test_cxr_predicts_client_shows_its_token_and_knows_the_servers_ca(
    models: Path, tmp_path: Path
) -> None:
    ca = Authority(tmp_path)
    tokens = _tokens(tmp_path, f"pacs {TOKEN}")
    doors = DoorSettings(_ssl_config(tmp_path, ca.sign("server")), tokens)
    mine = tmp_path / "mine"
    mine.write_text(f"{TOKEN}\n")
    with server_in_thread(Loader(), ca=ca.file, model_dir=models, doors=doors) as server:
        known = Client(server.url, "m", tries=1, token_file=mine, ca_file=ca.file)
        assert known._post({"instances": [1.0]}).json() == {"predictions": [2.0]}
        unknown = Client(server.url, "m", tries=1, ca_file=ca.file)
        assert unknown._post({"instances": [1.0]}).status_code == 401
        with pytest.raises(ServerError, match="can't be reached"):
            Client(server.url, "m", tries=1, token_file=mine)._post({})
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"token_file": tokens}, "must hold one token"),
        ({"token_file": tmp_path / "absent"}, "can't be read"),
        ({"ca_file": tmp_path / "absent"}, "is not there"),
    ]
    for named, said in wrong:
        with pytest.raises(InputError, match=said):
            Client("https://localhost", "m", **named)
