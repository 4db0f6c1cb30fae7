"""`cxr predict --url`, against a server that does as it is told."""

from __future__ import annotations

import base64
import http.server
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.errors import InputError
from models.conversion import converted
from pipeline import cli
from serving import client
from serving.client import Client, ServerError
from serving.prediction import Failure, Prediction, files_in

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
PROBABILITIES = [0.1, 0.7, 0.2]
ROW = {
    "classes": CLASSES,
    "probabilities": PROBABILITIES,
    "predicted_class": "Normal",
    "abstain": False,
}
# (path, body) -> (status, headers, answer)
Answer = Callable[[str, Any], tuple[int, dict[str, str], Any]]


class Stub:
    """A server whose answers the test sets, and that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: Answer = lambda _, body: (
            200,
            {},
            {"predictions": [ROW] * len(body["instances"])},
        )
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, body))
                status, headers, answer = stub.answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    # Tries follow each other at once.
    monkeypatch.setattr(client, "_BACKOFF_S", 0.001)
    made = Stub()
    threading.Thread(target=made.server.serve_forever, args=[0.01], daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]))
    return paths


def test_files_go_in_batches_and_come_back_in_order(stub: Stub, files: list[Path]) -> None:
    stub.answer = lambda _, body: (
        200,
        {},
        {
            "predictions": [
                {**ROW, "predicted_class": instance["b64"]} for instance in body["instances"]
            ]
        },
    )
    results = list(Client(stub.url, "champion").predict_files(files, batch_size=2))
    assert [len(body["instances"]) for _, body in stub.asked] == [2, 2, 1]
    assert {path for path, _ in stub.asked} == {"/v1/models/champion:predict"}
    assert [r.file for r in results] == files
    assert [r.predicted_class for r in results if isinstance(r, Prediction)] == [
        "AA==",
        "AQ==",
        "Ag==",
        "Aw==",
        "BA==",
    ]


def test_a_jpeg_is_sent_as_the_png_that_training_saw(stub: Stub, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (40, 30), 99).save(buffer, "JPEG")
    files = [tmp_path / "whole.jpg", tmp_path / "cut.jpg"]
    files[0].write_bytes(buffer.getvalue())
    files[1].write_bytes(buffer.getvalue()[:-20])
    answer, failure = Client(stub.url, "m").predict_files(files)
    ((_, body),) = stub.asked
    assert [base64.b64decode(one["b64"]) for one in body["instances"]] == [
        converted(buffer.getvalue())
    ]
    assert isinstance(answer, Prediction)
    assert isinstance(failure, Failure) and "truncated" in failure.why


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int, stub: Stub, files: list[Path]) -> None:
    kind = stub.answer

    def busy_at_first(path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        busy = len(stub.asked) < 3
        return (status, {"Retry-After": "0"}, {"error": "busy"}) if busy else kind(path, body)

    stub.answer = busy_at_first
    results = list(Client(stub.url, "m").predict_files(files))
    assert len(stub.asked) == 3
    assert all(isinstance(result, Prediction) for result in results)


def test_a_server_that_stays_busy_is_given_up(stub: Stub, files: list[Path]) -> None:
    stub.answer = lambda *_: (429, {"Retry-After": "0"}, {"error": "full"})
    with pytest.raises(ServerError, match="429 full"):
        list(Client(stub.url, "m", tries=3).predict_files(files))
    assert len(stub.asked) == 3


def test_a_refused_image_costs_only_its_own_answer(stub: Stub, files: list[Path]) -> None:
    kind = stub.answer

    def refuse(path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        if {"b64": "Ag=="} in body["instances"]:
            return 400, {}, {"error": "Unknown image file format"}
        return kind(path, body)

    stub.answer = refuse
    results = list(Client(stub.url, "m").predict_files([*files, files[0].with_name("absent.png")]))
    failures = [result for result in results if isinstance(result, Failure)]
    assert [failure.file.name for failure in failures] == ["2.png", "absent.png"]
    assert failures[0].why == "the server refuses it: 400 Unknown image file format"
    assert "No such file" in failures[1].why
    assert [r.file for r in results if isinstance(r, Prediction)] == [
        f for f in files if f.name != "2.png"
    ]


def test_no_server_and_no_model_are_told(stub: Stub, files: list[Path]) -> None:
    stub.answer = lambda *_: (404, {}, {"error": "Servable not found for request: Latest(m)"})
    with pytest.raises(ServerError, match=r"404 Servable not found for request: Latest\(m\)"):
        list(Client(stub.url, "m").predict_files(files))
    with pytest.raises(ServerError, match="can't be reached"):
        list(Client("http://127.0.0.1:9", "m", tries=1).predict_files(files))
    with pytest.raises(InputError, match="must begin with http"):
        Client("127.0.0.1:8501", "m")


def test_folders_are_looked_through(tmp_path: Path) -> None:
    for name in ("a/2.PNG", "a/b/1.jpeg", "a/notes.txt", "c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = files_in([tmp_path / "c.jpg", tmp_path / "a", tmp_path / "a/2.PNG"])
    assert [str(f.relative_to(tmp_path)) for f in found] == ["c.jpg", "a/2.PNG", "a/b/1.jpeg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        files_in([tmp_path / "empty"])


def _cxr(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["cxr", *arguments])
    try:
        cli.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_command_prints_a_table_or_json(
    stub: Stub,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["predict", str(files[0].parent), "--url", stub.url, "--model", "vgg16"]
    assert _cxr(monkeypatch, *arguments) == 0
    table = capsys.readouterr().out
    assert all(text in table for text in ("0.png", "4.png", "Normal", "0.700"))
    assert _cxr(monkeypatch, *arguments, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [entry["file"] for entry in printed] == [str(file) for file in files]
    assert printed[0]["probabilities"] == dict(zip(CLASSES, PROBABILITIES, strict=True))
    assert printed[0]["abstain"] is False


@pytest.mark.parametrize("reason", ["blank", "inverted", "turned", "unlike_training"])
def test_an_image_out_of_domain_is_told_by_table_and_json(
    stub: Stub,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reason: str,
) -> None:
    rows = [{**ROW, "in_domain": True, "domain_reason": "ok"}] * 4
    rows.append({**ROW, "in_domain": False, "domain_reason": reason})
    stub.answer = lambda *_: (200, {}, {"predictions": rows})
    arguments = ["predict", str(files[0].parent), "--url", stub.url, "--model", "vgg16"]
    assert _cxr(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("out of domain" in line or "out of" in line for line in lines)
    assert [reason in line for line in lines if ".png" in line] == [False] * 4 + [True]
    assert _cxr(monkeypatch, *arguments, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    told = [(entry["in_domain"], entry["domain_reason"]) for entry in printed]
    assert told == [(True, "ok")] * 4 + [(False, reason)]


def test_a_model_without_a_gate_has_no_column_for_it(
    stub: Stub,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["predict", str(files[0].parent), "--url", stub.url, "--model", "vgg16"]
    assert _cxr(monkeypatch, *arguments) == 0
    assert "domain" not in capsys.readouterr().out
    assert _cxr(monkeypatch, *arguments, "--json") == 0
    assert "in_domain" not in json.loads(capsys.readouterr().out)[0]


def test_a_file_without_an_answer_is_listed_and_the_others_are_shown(
    stub: Stub,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = files[0].with_name("absent.png")
    code = _cxr(monkeypatch, "predict", str(files[0]), str(absent), "--url", stub.url)
    assert code == cli.EXIT_INPUT
    printed = capsys.readouterr()
    assert "0.png" in printed.out
    assert "1 of 2 files have no answer" in printed.err
    assert f"{absent}: can't be read" in printed.err


def test_the_readmes_python_asks_as_this_client_does(
    stub: Stub, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert "http://127.0.0.1:8501" in source
    files[3].rename(files[3].with_name("chest.png"))
    monkeypatch.chdir(files[0].parent)
    exec(source.replace("http://127.0.0.1:8501", stub.url), {})
    assert stub.asked == [("/v1/models/champion:predict", {"instances": [{"b64": "Aw=="}]})]
    assert capsys.readouterr().out == "Normal\n"
