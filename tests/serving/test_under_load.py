"""Many clients, the end, and reloads in the middle of it: no accepted request is lost."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.serving.load import memory_mib, over_http
from serving.process import Server, running_server, stop

H2 = "/v1/models/h2:predict"
BODY = {"instances": [1.0, 2.0]}


def _post(server: Server, body: Any, path: str = H2) -> requests.Response:
    return requests.post(server.url + path, json=body, timeout=60)


def _is_alive(server: Server) -> bool:
    return bool(_post(server, BODY).json() == {"predictions": [2.5, 3.0]})


@pytest.mark.slow
def test_many_clients_at_once_get_answers_or_429(models: Path) -> None:
    with running_server("--model-dir", str(models), "--max-queue", "8") as server:

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
def test_memory_is_flat_under_many_clients(models: Path) -> None:
    """A quarter of a minute here; `make soak` does it for as long as one likes."""
    with running_server("--model-dir", str(models), "--max-queue", "64") as server:
        url, bodies = server.url + H2, [json.dumps(BODY).encode()]
        # Connections, threads and buffers are there after this.
        over_http(url, bodies, 200, 5.0)
        before = memory_mib(server.process.pid, "VmRSS")
        load = over_http(url, bodies, 200, 15.0)
        after = memory_mib(server.process.pid, "VmRSS")
    assert load.failed == 0
    assert len(load.latencies) > 200
    # A kilobyte a request would be several times that.
    assert after - before < 8


@pytest.mark.slow
def test_sigterm_under_load_loses_no_accepted_request(models: Path) -> None:
    """What the server took, by its log, its clients got; others weren't let in."""
    with running_server("--model-dir", str(models)) as server:
        answered: list[int] = []

        def ask() -> None:
            with requests.Session() as session:
                while True:
                    try:
                        answer = session.post(server.url + H2, json=BODY, timeout=30)
                    except requests.ConnectionError:
                        return
                    answered.append(answer.status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(answered) < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        status = stop(server)
        for thread in threads:
            thread.join(60)
        log = server.log.read_text()
    assert status == 0
    assert len(answered) >= 200
    assert set(answered) == {200}
    assert log.count("POST /v1/models/h2:predict 200") == len(answered)
    assert log.count("POST") == len(answered)


@pytest.mark.slow
def test_reloads_under_load(models: Path, tmp_path: Path) -> None:
    """A new version, a half-copied one, a damaged one: no request fails, and the others go on."""
    from serving.conformance.models import write_half_plus_two

    shutil.copytree(models / "h2", tmp_path / "h2")
    shutil.copytree(models / "two", tmp_path / "two")
    write_half_plus_two(tmp_path / "new", half=1.0)
    arguments = ("--model-dir", str(tmp_path), "--file-system-poll-wait-seconds", "0.1")
    with running_server(*arguments) as server:
        seen: list[Any] = []
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                answer = _post(server, BODY)
                seen.append(answer.json() if answer.status_code == 200 else answer.text)

        def latest_is(expected: list[float]) -> bool:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if _post(server, BODY).json() == {"predictions": expected}:
                    return True
                time.sleep(0.05)
            return False

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        # Half-copied: the graph without its variables, then the rest.
        half_copied = tmp_path / "h2" / "200"
        half_copied.mkdir()
        shutil.copy(tmp_path / "new" / "saved_model.pb", half_copied)
        damaged = tmp_path / "two" / "2"
        damaged.mkdir()
        (damaged / "saved_model.pb").write_bytes(b"no model")
        time.sleep(1.5)
        states = requests.get(f"{server.url}/v1/models/two", timeout=10).json()
        shutil.copytree(tmp_path / "new" / "variables", half_copied / "variables")
        taken = latest_is([3.0, 4.0])
        ended.set()
        for thread in threads:
            thread.join(30)
        assert taken
        by_version = {s["version"]: s for s in states["model_version_status"]}
        assert by_version["1"]["state"] == "AVAILABLE"
        assert by_version["2"]["state"] == "END"
        assert by_version["2"]["status"]["error_code"] != "OK"
        body = {"inputs": {"a": [1], "b": [2]}}
        assert _post(server, body, "/v1/models/two:predict").status_code == 200
    assert [
        s for s in seen if s not in ({"predictions": [2.5, 3.0]}, {"predictions": [3.0, 4.0]})
    ] == []
    assert {"predictions": [3.0, 4.0]} in seen


@pytest.mark.slow
def test_a_rewritten_config_counts_only_where_it_is_polled(models: Path, tmp_path: Path) -> None:
    from serving.conformance.models import models_config

    config = tmp_path / "models.config"

    def is_served(server: Server) -> bool:
        return requests.get(f"{server.url}/v1/models/two", timeout=10).status_code == 200

    for polled in (True, False):
        config.write_text(models_config(models, ("h2",)))
        arguments = ["--model-config-file", str(config), "--file-system-poll-wait-seconds", "0.1"]
        if polled:
            arguments += ["--model-config-file-poll-wait-seconds", "0.1"]
        with running_server(*arguments) as server:
            assert not is_served(server)
            config.write_text("nonsense {")
            time.sleep(0.5)
            assert _is_alive(server)
            config.write_text(models_config(models, ("h2", "two")))
            deadline = time.monotonic() + (20 if polled else 1)
            while time.monotonic() < deadline and not is_served(server):
                time.sleep(0.1)
            assert is_served(server) is polled
