"""A short soak, and what a soak doesn't let pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.__main__ import table
from benchmarks.soak.bad_clients import KINDS
from benchmarks.soak.good_clients import WAYS
from benchmarks.soak.images import Images
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.run import Outcome, Settings, _judge, soak


def _good() -> Outcome:
    ledger = Ledger()
    ledger.expect(0, [0.5, 0.5])
    ledger.answer("REST", "one", 0, [0.5, 0.49])
    for name in (*WAYS, *KINDS):
        ledger.ended(name)
    memory = [(float(second), 100.0) for second in range(100)]
    return Outcome(ledger, memory, records=9, written=9, dropped={"disk": 2}, missing=1)


def test_a_server_that_held() -> None:
    outcome = _good()
    _judge(Settings(), outcome)
    assert outcome.faults == []
    assert "| good clients' requests answered | 1 |" in table(Settings(), outcome)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"records": 8}, "9 said, 8 there"),
        ({"missing": 3}, "3 missing"),
        ({"twice": 1}, "1 records twice"),
        ({"torn": 1}, "1 shards torn"),
        ({"dropped": {}, "missing": 0}, "not noticed"),
        ({"memory": [(float(second), 10.0 * second) for second in range(100)]}, "more at the end"),
    ],
)
def test_figures_that_must_not_be(change: dict[str, Any], said: str) -> None:
    outcome = _good()
    for name, value in change.items():
        setattr(outcome, name, value)
    _judge(Settings(), outcome)
    (fault,) = outcome.faults
    assert said in fault


def test_what_clients_must_not_see() -> None:
    outcome = _good()
    outcome.ledger.error("REST", "500")
    outcome.ledger.answer("gRPC", "one", 0, [0.9, 0.1])
    outcome.ledger.by_client["slow"] = 0
    _judge(Settings(), outcome)
    assert outcome.faults == [
        "1 errors:",
        "REST: 500",
        "1 answers differ from those of the start",
        "1 requests have more than one answer",
        "nothing came of: slow",
    ]


def test_no_image_comes_twice() -> None:
    images = Images()
    found = [images.next() for _ in range(2 * len(images))]
    assert len({one.sha256 for one in found}) == len(found)
    assert {one.base for one in found} == set(range(len(images)))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.alone
def test_twenty_seconds_of_everything(tmp_path: Path) -> None:
    settings = Settings(seconds=20.0, stop_seconds=2.0, version_seconds=1.0)
    outcome = soak(settings, tmp_path)
    assert outcome.faults == []
    assert sum(outcome.versions.values()) >= 3
