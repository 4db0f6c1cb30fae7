"""Full queues, the end, and reloads in the middle of it: no accepted request is lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.serving.load import memory_mib, over_http
from serving.process import Server, running_server, stop
from serving.settings import Limits
from tests.serving.fakes import Loader, write_version
from tests.serving.in_thread import ThreadServer, server_in_thread, until

H2 = "/v1/models/h2:predict"
BODY = {"instances": [1.0, 2.0]}
# A Doubler's.
DOUBLED = {"predictions": [2.0, 4.0]}


def _post(server: Server | ThreadServer, body: Any, path: str = H2) -> requests.Response:
    return requests.post(server.url + path, json=body, timeout=60)


def _is_alive(server: Server | ThreadServer, answer: Any = None) -> bool:
    return bool(_post(server, BODY).json() == (answer or {"predictions": [2.5, 3.0]}))


def _states(server: Server | ThreadServer, model: str) -> dict[str, Any]:
    """Version -> its status."""
    answer = requests.get(f"{server.url}/v1/models/{model}", timeout=10).json()
    return {status["version"]: status for status in answer["model_version_status"]}


def _is_served(server: Server | ThreadServer, model: str) -> bool:
    return requests.get(f"{server.url}/v1/models/{model}", timeout=10).status_code == 200


@contextlib.contextmanager
def _asking(ask: Callable[[], bool], clients: int) -> Iterator[None]:
    """Clients that ask again and again until the block ends, or there is nobody to ask."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set() and ask():
            pass

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)


def test_where_the_queue_is_full_429_says_when_to_come_again(tmp_path: Path) -> None:
    write_version(tmp_path / "h2", 1)
    loader = Loader()
    limits = Limits(queue=1)
    with server_in_thread(loader, model_dir=tmp_path, batch_threads=1, limits=limits) as server:
        (servable,) = loader.servables.values()
        servable.go.clear()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(_post, server, BODY) for _ in range(4)]
            # One is computed and one waits.
            concurrent.futures.wait(asked, 60, concurrent.futures.FIRST_COMPLETED)
            servable.go.set()
            answers = [future.result() for future in asked]
        assert _is_alive(server, DOUBLED)
    refused = [answer for answer in answers if answer.status_code == 429]
    taken = [answer for answer in answers if answer.status_code != 429]
    assert refused
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert "1 requests are waiting already" in refused[0].json()["error"]
    assert taken
    assert all(answer.json() == DOUBLED for answer in taken)


def test_who_was_let_in_is_answered_though_the_server_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the server took, by its log, its clients got; others weren't let in."""
    caplog.set_level("INFO", "cxr.serving")
    write_version(tmp_path / "h2", 1)
    answered: list[int] = []
    sessions = threading.local()

    with server_in_thread(Loader(), model_dir=tmp_path) as server:

        def ask() -> bool:
            session = sessions.__dict__.setdefault("own", requests.Session())
            try:
                answered.append(session.post(server.url + H2, json=BODY, timeout=30).status_code)
            except requests.ConnectionError:
                return False
            return True

        with _asking(ask, clients=4):
            until(lambda: len(answered) >= 40)
            server.stop()
    assert set(answered) == {200}
    assert caplog.text.count("POST /v1/models/h2:predict 200") == len(answered)
    assert caplog.text.count("POST") == len(answered)
    assert caplog.messages[-1] == "stopped"


def test_a_new_version_and_broken_ones_cost_no_request(tmp_path: Path) -> None:
    write_version(tmp_path / "h2", 1)
    write_version(tmp_path / "two", 1)
    loader = Loader()
    seen: list[Any] = []
    with server_in_thread(loader, model_dir=tmp_path, file_poll_s=0.02) as server:

        def ask() -> bool:
            answer = _post(server, BODY)
            seen.append(answer.json() if answer.status_code == 200 else answer.text)
            return True

        with _asking(ask, clients=2):
            half_copied = write_version(tmp_path / "h2", 2, good=False)
            write_version(tmp_path / "two", 2, good=False)
            until(lambda: len(_states(server, "h2")) == len(_states(server, "two")) == 2)
            until(lambda: _states(server, "two")["2"]["state"] == "END")
            states = _states(server, "two")
            (half_copied / "good").touch()
            until(lambda: _states(server, "h2")["2"]["state"] == "AVAILABLE")
            taken = loader.servables[half_copied]
            until(lambda: taken.batches)
        assert states["1"]["state"] == "AVAILABLE"
        assert states["2"]["status"]["error_code"] == "NOT_FOUND"
        assert _post(server, BODY, "/v1/models/two:predict").json() == DOUBLED
    assert [answer for answer in seen if answer != DOUBLED] == []


@pytest.mark.parametrize("polled", [True, False])
def test_a_rewritten_config_counts_only_where_it_is_polled(
    polled: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from serving.conformance.models import models_config

    for name in ("one", "two"):
        write_version(tmp_path / name, 1)
    config = tmp_path / "models.config"
    config.write_text(models_config(tmp_path, ("one",)))
    settings: dict[str, Any] = {"config_file": config, "file_poll_s": 0.02}
    if polled:
        settings["config_poll_s"] = 0.02
    with server_in_thread(Loader(), **settings) as server:

        def look_again() -> None:
            """Until it has looked at the folders, which it does after the configuration."""
            version = str(max(map(int, _states(server, "one"))) + 1)
            write_version(tmp_path / "one", int(version))
            until(lambda: _states(server, "one").get(version, {}).get("state") == "AVAILABLE")

        assert not _is_served(server, "two")
        config.write_text("nonsense {")
        if polled:
            until(lambda: "the old configuration is kept" in caplog.text)
        look_again()
        assert _post(server, BODY, "/v1/models/one:predict").json() == DOUBLED
        config.write_text(models_config(tmp_path, ("one", "two")))
        if polled:
            until(lambda: _is_served(server, "two"))
        else:
            look_again()
            assert not _is_served(server, "two")
            assert "configuration" not in caplog.text


@pytest.fixture(scope="module")
def loaded_server(models: Path) -> Iterator[Server]:
    """A process, over TensorFlow's models."""
    with running_server("--model-dir", str(models), "--max-queue", "64") as running:
        yield running


@pytest.mark.slow
@pytest.mark.long
def test_many_clients_at_once_get_answers_or_429(loaded_server: Server) -> None:
    server = loaded_server

    def ask(_: int) -> set[int]:
        with requests.Session() as session:
            codes = set()
            for _ in range(5):
                answer = session.post(server.url + H2, json=BODY, timeout=60)
                codes.add(answer.status_code)
                if answer.status_code == 429:
                    assert answer.headers["Retry-After"] == "1"
                else:
                    assert answer.json() == {"predictions": [2.5, 3.0]}
            return codes

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        codes = set().union(*pool.map(ask, range(200)))
    assert 200 in codes
    assert codes <= {200, 429}
    assert _is_alive(server)


@pytest.mark.slow
@pytest.mark.long
def test_memory_is_flat_under_many_clients(loaded_server: Server) -> None:
    """A quarter of a minute here; `make soak` does it for as long as one likes."""
    url, bodies = loaded_server.url + H2, [json.dumps(BODY).encode()]
    # Connections, threads and buffers are there after this.
    over_http(url, bodies, 200, 5.0)
    before = memory_mib(loaded_server.process.pid, "VmRSS")
    load = over_http(url, bodies, 200, 15.0)
    after = memory_mib(loaded_server.process.pid, "VmRSS")
    assert load.failed == 0
    assert len(load.latencies) > 200
    # A kilobyte a request would be several times that.
    assert after - before < 8


@pytest.mark.slow
@pytest.mark.long
def test_reloads_and_sigterm_under_load(models: Path, tmp_path: Path) -> None:
    """A new version, a half-copied one, a damaged one: no request fails, and the others go on.

    At the end, what the server took, by its log, its clients got; others weren't let in.
    """
    from serving.conformance.models import write_half_plus_two

    shutil.copytree(models / "h2", tmp_path / "h2")
    shutil.copytree(models / "two", tmp_path / "two")
    write_half_plus_two(tmp_path / "new", half=1.0)
    arguments = ("--model-dir", str(tmp_path), "--file-system-poll-wait-seconds", "0.1")
    seen: list[Any] = []
    sessions = threading.local()
    with running_server(*arguments) as server:

        def ask() -> bool:
            session = sessions.__dict__.setdefault("own", requests.Session())
            try:
                answer = session.post(server.url + H2, json=BODY, timeout=30)
            except requests.ConnectionError:
                return False
            seen.append(answer.json() if answer.status_code == 200 else answer.text)
            return True

        with _asking(ask, clients=8):
            # Half-copied: the graph without its variables, then the rest.
            half_copied = tmp_path / "h2" / "200"
            half_copied.mkdir()
            shutil.copy(tmp_path / "new" / "saved_model.pb", half_copied)
            damaged = tmp_path / "two" / "2"
            damaged.mkdir()
            (damaged / "saved_model.pb").write_bytes(b"no model")
            until(lambda: len(_states(server, "h2")) == len(_states(server, "two")) == 2)
            until(lambda: _states(server, "two")["2"]["state"] == "END")
            states = _states(server, "two")
            shutil.copytree(tmp_path / "new" / "variables", half_copied / "variables")
            until(lambda: {"predictions": [3.0, 4.0]} in seen[-8:])
            assert states["1"]["state"] == "AVAILABLE"
            assert states["2"]["status"]["error_code"] != "OK"
            body = {"inputs": {"a": [1], "b": [2]}}
            assert _post(server, body, "/v1/models/two:predict").status_code == 200
            count = len(seen)
            until(lambda: len(seen) >= count + 200)
            status = stop(server)
        log = server.log.read_text()
    assert status == 0
    expected = ({"predictions": [2.5, 3.0]}, {"predictions": [3.0, 4.0]})
    assert [answer for answer in seen if answer not in expected] == []
    assert log.count("POST /v1/models/h2:predict 200") == len(seen)
    assert log.count("POST /v1/models/h2:predict") == len(seen)
