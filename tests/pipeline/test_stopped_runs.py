"""Runs that end before a model is trained: exit code, message, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.runs.record import read_records
from tests.some_phantoms import copy_some

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = pytest.mark.slow


def listed(outcome: Outcome) -> tuple[str, str | None]:
    """How `cxr runs` says that the last run in a folder ended, and at which node."""
    record = read_records(OutputLayout(outcome.output)).readable[-1]
    assert record.exit == outcome.exit_code
    assert record.error is not None
    assert record.error in outcome.printed
    return record.state, record.at


@pytest.fixture
def data(phantom_folder: Path, tmp_path: Path) -> Path:
    """Some of the phantoms, to be changed. With a blank, which users' folders have."""
    return copy_some(phantom_folder, tmp_path / "my data", (12, 12, 12))


@pytest.mark.long
def test_an_anomaly_stops_the_run_before_anything_is_trained(
    run: Run, data: Path, tmp_path: Path
) -> None:
    table = (data / "metadata.csv").read_text()
    (data / "metadata.csv").write_text(table.replace(",PA,", ",upright,"))
    # Nothing waits for it.
    quick: dict[str, Any] = {"audit": {"enabled": False}}
    outcome = run(tmp_path / "output", data=data, config=quick)
    assert outcome.exit_code == cli.EXIT_INPUT, outcome.printed
    assert "image/view" in outcome.printed
    assert "upright" in outcome.printed
    assert "Traceback" not in outcome.printed
    assert "StatisticsGen" in outcome.executed
    assert not any(node.startswith(("Trainer", "Transform")) for node in outcome.executed)
    assert listed(outcome) == ("failed", "SchemaGate")


def test_too_many_bad_images_exit_with_2_and_name_them(
    run: Run, data: Path, tmp_path: Path
) -> None:
    bad = sorted((data / "NORMAL").glob("*.png"))[:8]
    for image in bad:
        image.write_bytes(b"no image")
    # Of an earlier run: a run that stops must not leave it as if it were its own.
    stale = OutputLayout(tmp_path / "output").summary
    stale.parent.mkdir()
    stale.write_text("{}")

    outcome = run(tmp_path / "output", data=data)

    assert outcome.exit_code == cli.EXIT_INPUT
    for image in bad:
        assert f"NORMAL/{image.name}" in outcome.printed
    assert not stale.exists()
    assert listed(outcome) == ("failed", "RadiographExampleGen")


def test_a_fault_of_the_program_exits_with_1_and_names_the_node(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it lies in what Beam runs for the node."""
    from components.radiograph_example_gen import executor

    def broken(*_: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(executor, "inspect_file", broken)
    outcome = run(tmp_path / "output", data=data)
    assert outcome.exit_code == cli.EXIT_ERROR, outcome.printed
    assert "RadiographExampleGen" in outcome.printed
    assert "disk on fire" in outcome.printed
    assert listed(outcome) == ("failed", "RadiographExampleGen")
