"""`cxr sign`, `cxr verify`, and `cxr serve --require-signature` over HTTP."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import requests

from schema import contract
from serving.servables.loading import load_servable
from serving.servables.servable import Servable
from serving.signing import folder
from tests.serving.conftest import Cxr
from tests.serving.in_thread import server_in_thread, until
from tests.serving.signing.versions import write_keys, write_version

BODY = {"instances": [1.0]}


def _on_tensorflow(version: Path) -> Servable:
    return load_servable(version, "tensorflow")


def _states(url: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/v1/models/h2", timeout=10).json()
    return {status["version"]: status for status in answer["model_version_status"]}


@pytest.mark.slow
def test_only_what_is_signed_is_served(
    cxr: Cxr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from serving.conformance.models import write_half_plus_two

    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(folder.tempfile, "tempdir", str(copies))
    private, public = write_keys(tmp_path)
    _, other = write_keys(tmp_path, "other")
    base = tmp_path / "serving" / "h2"
    write_half_plus_two(base / "1")
    assert cxr("sign", base / "1", "--key", private) == 0
    settings: dict[str, Any] = {"signed_by": (other, public), "file_poll_s": 0.02}
    with server_in_thread(_on_tensorflow, model_dir=base.parent, **settings) as server:
        url = server.url
        assert requests.post(f"{url}/v1/models/h2:predict", json=BODY, timeout=60).json() == {
            "predictions": [2.5]
        }
        # A newer one, signed, and then changed.
        staged = tmp_path / "2"
        write_half_plus_two(staged, half=7.0)
        assert cxr("sign", staged, "--key", private) == 0
        with (staged / contract.SAVED_MODEL_FILE).open("ab") as file:
            # A field that nobody knows: TensorFlow would load it.
            file.write(b"\x98\x06\x00")
        staged.rename(base / "2")
        until(lambda: _states(url).get("2", {}).get("state") == "END")
        said = _states(url)["2"]["status"]
        assert said["error_code"] == "FAILED_PRECONDITION"
        assert "not as it was signed: saved_model.pb" in said["error_message"]
        metrics = requests.get(f"{url}/monitoring/prometheus/metrics", timeout=10).text
        assert 'cxr_serving_signature_refused{model="h2",version="2"} 1.0' in metrics
        assert 'cxr_serving_signature_refused{model="h2",version="1"}' not in metrics
        assert "h2 version 2 can't be served" in caplog.text
        # The version before it goes on; signed as it is now, it is served.
        answer = requests.post(f"{url}/v1/models/h2:predict", json=BODY, timeout=60)
        assert answer.json() == {"predictions": [2.5]}
        assert cxr("sign", base / "2", "--key", private) == 0
        until(lambda: _states(url)["2"]["state"] == "AVAILABLE")
        answer = requests.post(f"{url}/v1/models/h2:predict", json=BODY, timeout=60)
        assert answer.json() == {"predictions": [9.0]}
        # Of what is served alone there is a copy, and at the end of none.
        until(lambda: len(list(copies.glob("cxr-signed-*"))) == 1)
    gc.collect()
    assert not list(copies.glob("cxr-signed-*"))


def test_the_commands_say_what_is_wrong(
    cxr: Cxr, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_keys(tmp_path)
    version = write_version(tmp_path / "1")
    assert cxr("verify", version, "--key", public) == 2
    assert "isn't signed" in capsys.readouterr().err
    assert cxr("sign", version) == 2
    assert "--key" in capsys.readouterr().err
    assert cxr("sign", tmp_path / "none", "--key", private) == 2
    assert "saved_model.pb" in capsys.readouterr().err
    monkeypatch.setenv("SIGNING", private.read_text())
    assert cxr("sign", version, "--key-variable", "SIGNING") == 0
    assert cxr("verify", version, "--key", public) == 0
    assert "7 files" in capsys.readouterr().out
    (version / "good").unlink()
    assert cxr("verify", version, "--key", public) == 2
    said = capsys.readouterr().err
    assert "signed, and not there: good" in said
    assert str(version) in said


def test_a_server_whose_key_cant_be_read_doesnt_start(
    cxr: Cxr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    serve = ["serve", "--model-dir", tmp_path / "models", "--require-signature"]
    assert cxr(*serve, tmp_path / "none.pem") == 2
    assert "none.pem" in capsys.readouterr().err
    _, public = write_keys(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    assert cxr(*serve, public, "--network-cache", cache) == 2
    assert "network-cache" in capsys.readouterr().err
