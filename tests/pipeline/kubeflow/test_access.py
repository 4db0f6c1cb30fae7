"""Endpoint, token and CA: what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InputError
from pipeline.kubeflow.access import TOKEN_VARIABLE, access
from tests.pipeline.kubeflow.submit_runs import TOKEN


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://kfp.example",
        "https://10.0.0.7:8443/pipeline",
        "http://127.0.0.1:8888",
        "http://127.3.2.1",
        "http://localhost:8888/",
        "http://[::1]:8888",
    ],
)
def test_the_token_goes_over_https_and_to_this_machine(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, f" {TOKEN}\n")
    allowed = access(endpoint)
    assert allowed.token is not None
    assert allowed.token.value() == TOKEN
    assert allowed.endpoint == endpoint.rstrip("/")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://kfp.example",
        "http://10.0.0.7:8888",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://[fe80::1]",
        "http://0.0.0.0:8888",
    ],
)
def test_the_token_goes_nowhere_else(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert access(endpoint).token is None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with pytest.raises(InputError, match=r"^endpoint: .* plain http.*https://") as refusal:
        access(endpoint)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("kfp.example", "no http or https URL"),
        ("ftp://kfp.example", "no http or https URL"),
        ("https://", "no http or https URL"),
        ("https://kfp.example:port", "no URL"),
        ("https://[::1", "no URL"),
        ("https://kfp.example/#/pipelines", "leave out what follows"),
        ("https://kfp.example/?ns=a", "leave out what follows"),
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^endpoint: .*{message}"):
        access(endpoint)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match=TOKEN_VARIABLE) as refusal:
        access("https://me:hunter2@kfp.example")
    assert "hunter2" not in str(refusal.value)


def test_the_file_comes_before_the_environment_and_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    token = access("https://kfp.example", token_file=file).token
    assert token is not None
    assert token.value() == TOKEN
    file.write_text("a-newer-one\n")
    assert token.value() == "a-newer-one"
    # Half-written or gone: the one before still serves.
    file.write_text("")
    assert token.value() == "a-newer-one"
    file.unlink()
    assert token.value() == "a-newer-one"
    hidden = token.hidden_in(f"{TOKEN} a-newer-one {token!r}")
    assert hidden.startswith("[token] [token] ")
    assert TOKEN not in hidden


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two words", b"two\nlines", "ü".encode(), b"\xff"]
)
def test_a_file_without_a_token_is_refused_without_showing_it(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"^token") as refusal:
        access("https://kfp.example", token_file=file)
    assert str(file) in str(refusal.value)
    assert "words" not in str(refusal.value)


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^token-file: .*No such file"):
        access("https://kfp.example", token_file=tmp_path / "none")


def test_an_empty_variable_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "")
    assert access("http://kfp.example").token is None


def test_a_ca_is_for_https_and_holds_certificates(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(InputError, match=r"^ca-cert: .* is no file"):
        access("https://kfp.example", ca_cert=file)
    file.write_text("nothing")
    with pytest.raises(InputError, match=r"^ca-cert: .* no PEM"):
        access("https://kfp.example", ca_cert=file)
    with pytest.raises(InputError, match=r"^ca-cert: .*https"):
        access("http://127.0.0.1", ca_cert=file)
