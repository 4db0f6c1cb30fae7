"""The serving benchmark's arithmetic, and a run of it on phantoms."""

from __future__ import annotations

import contextlib
import http.server
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from benchmarks.serving import __main__ as benchmark
from benchmarks.serving import start
from benchmarks.serving.__main__ import CLIENTS, Measured, in_process, served, show
from benchmarks.serving.load import Load, in_a_loop, memory_mib, over_http
from benchmarks.serving.start import Start
from serving.local_client import latest_version

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun


def test_throughput_and_percentiles() -> None:
    load = Load(2, 4.0, tuple(i / 100 for i in range(1, 101)), refused=3)
    assert load.throughput == 25.0
    assert load.percentile(50) == pytest.approx(0.505)
    assert load.percentile(99) == pytest.approx(0.9901)


def test_a_loop_takes_the_images_in_turn() -> None:
    asked: list[bytes] = []
    load = in_a_loop(asked.append, [b"a", b"b"], 0.05)
    assert len(load.latencies) == len(asked) > 2
    assert asked[:3] == [b"a", b"b", b"a"]


def test_memory_is_this_processes() -> None:
    assert 10 < memory_mib("self", "VmRSS") <= memory_mib() < 100_000


class _Servant(http.server.BaseHTTPRequestHandler):
    """Answers with 200, 429 and 500 in turn, and counts."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response((200, 429, 500)[type(self).asked % 3])
        type(self).asked += 1
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_clients_count_answers_refusals_and_failures() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Servant)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    load = over_http(f"http://127.0.0.1:{server.server_port}", [b"a", b"b"], 1, 0.3)
    server.shutdown()
    server.server_close()
    found = (len(load.latencies), load.refused, load.failed)
    assert sum(found) == _Servant.asked >= 3
    assert found == tuple(len(range(first, _Servant.asked, 3)) for first in range(3))
    # Nobody listens any more.
    assert over_http(f"http://127.0.0.1:{server.server_port}", [b"a"], 1, 0.3).failed >= 1


def _measured(what: str, *loads: Load, **answers: list[float]) -> Measured:
    return Measured(what, loads, 100.0, answers)


def test_the_table_says_what_of_the_goals_is_met() -> None:
    base = _measured("(a) loop", Load(1, 1.0, (0.1,) * 10), x=[0.9, 0.1], y=[0.4, 0.6])
    other = _measured("(b) server, t", Load(8, 1.0, (0.1,)), x=[0.85, 0.15], y=[0.6, 0.4])
    quick = [Load(clients, 1.0, (0.8,) * 40, refused=2, failed=3) for clients in CLIENTS]
    fast = _measured("(c) server, o", *quick, x=[0.89, 0.11], y=[0.4, 0.6])
    page = io.StringIO()
    show(Console(file=page, width=140), "m", [base, other, fast], 2)
    lines = page.getvalue().splitlines()
    assert "throughput: 4.00× (a); goal 4×: met" in lines
    assert "p99 at 8 clients: 0.80 s; goal 8 × (a)'s p50 = 0.80 s: met" in lines
    assert [line for line in lines if line.startswith("parity")] == [
        "parity of (b) server, t with (a) on 2 test images: 1 other classes, "
        "largest difference 0.2000 (allowed 0.02): NOT met",
        "parity of (c) server, o with (a) on 2 test images: 0 other classes, "
        "largest difference 0.0100 (allowed 0.02): met",
    ]
    (row,) = [line for line in lines if "(c)" in line and "│ 8 " in line]
    assert row.replace("│", " ").split()[3:] == ["8", "40.0", "4.00×", "800", "800", "5", "100"]


@pytest.mark.slow
@pytest.mark.long
def test_the_three_ways_on_a_small_model(
    golden: GoldenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make bench-serving` does with each model that `cxr run` made."""
    monkeypatch.setattr(
        benchmark, "over_http", lambda url, bodies, clients, _: over_http(url, bodies, clients, 0.2)
    )
    serving = golden.layout.serving
    files = [str(file) for file in sorted(golden.data.rglob("*.png"))[::20]]
    ways = [in_process(latest_version(serving, "xception"), files[:3], files, 0.2)]
    for engine in ("tensorflow", "openvino"):
        ways.append(served(serving, "xception", engine, files[:3], files, 0.2))
    assert [way.what.split(",")[0] for way in ways] == [
        "(a) signature in a loop",
        "(b) server",
        "(c) server",
    ]
    assert ways[1].what.endswith("tensorflow")
    assert "openvino" in ways[2].what
    for way in ways:
        assert set(way.answers) == set(files)
        assert all(load.failed == 0 and load.latencies for load in way.loads)
        assert way.memory > 100
    assert [load.clients for load in ways[2].loads] == [1, 8, 32]
    page = io.StringIO()
    show(Console(file=page, width=140), "xception", ways, len(files))
    assert "0 other classes" in page.getvalue()
    assert page.getvalue().count("parity of") == 2


def test_a_start_is_compared_with_the_one_before() -> None:
    later = Start(8.0, 900.0, 1000.0, 1200.0, {"m": 0.05}, {"m": [0.5, 0.5]})
    old = Start(64.0, 5000.0, 5500.0, 5600.0, {"m": 0.09}, {"m": [0.5, 0.4999]})
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        start.show({"first start": [old], "later starts": [later, later], "before": [old]})
    said = page.getvalue()
    assert "start: 8.0× faster; largest difference of an answer: 1.00e-04" in said
    assert [line.split() for line in said.splitlines() if " m " in line] == [
        ["│", "m", "│", "90", "│", "50", "│", "90", "│"]
    ]


@pytest.mark.slow
@pytest.mark.long
def test_a_first_and_a_later_start(golden: GoldenRun, tmp_path: Path) -> None:
    models, networks = tmp_path / "models", tmp_path / "networks"
    models.mkdir()
    (models / "vgg16").symlink_to(golden.layout.serving / "vgg16")
    image = min(golden.data.rglob("*.png")).read_bytes()
    first, later = (start.measured(start._HERE, models, networks, image) for _ in range(2))
    assert first.answers == later.answers
    assert len(later.answers["vgg16"]) == 3
    assert 0 < later.memory <= later.peak
    # Which engine is the fastest here; the networks themselves lie beside the pushed model.
    assert list((networks / "choices").iterdir())
