"""What a training says against its own model stops the push."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.training_verdict import may_be_pushed
from schema import contract


@pytest.mark.parametrize(
    ("said", "pushed"),
    [
        ({}, True),
        ({contract.NOT_TO_PUSH: None}, True),
        ({contract.NOT_TO_PUSH: "The joint model doesn't beat the image alone."}, False),
    ],
)
def test_a_sentence_against_it_stops_the_push(
    said: dict[str, str | None], pushed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = standard_artifacts.ModelRun()
    run.uri = str(tmp_path)
    (tmp_path / contract.VALIDATION_FILE).write_text(json.dumps(said))
    assert may_be_pushed([run]) is pushed
    assert bool([r for r in caplog.records if "doesn't beat" in r.message]) is not pushed


def test_who_has_no_run_is_pushed(tmp_path: Path) -> None:
    run = standard_artifacts.ModelRun()
    run.uri = str(tmp_path)
    assert may_be_pushed(None)
    assert may_be_pushed([run])
