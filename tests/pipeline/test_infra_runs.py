"""Whole runs in which models are served before they are pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from components.infra_check import requests_sent
from pipeline import cli
from pipeline.layout import OutputLayout

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipeline.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]


def _embedded(images: int) -> dict[str, Any]:
    return {"infra_validation": {"mode": "embedded", "images": images}}


def test_what_cannot_be_served_is_not_pushed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is as close as that: the same as a model whose served answers are off.
    monkeypatch.setattr(requests_sent, "OWN_TOLERANCE", -1.0)
    refused = run(tmp_path / "output", config=_embedded(1))
    assert refused.exit_code == cli.EXIT_NONE_BLESSED, refused.printed
    infra = refused.summary["models"]["tiny"]["infra_validation"]
    assert not infra["passed"]
    assert "off the SavedModel's own" in infra["failures"][0]
    assert f"tiny can't be served: {infra['failures'][0]} (and " in refused.printed
    assert refused.summary["champion"] is None
    assert refused.summary["models"]["tiny"]["pushed_to"] is None
    assert not list(OutputLayout(refused.output).serving.glob("*/*"))

    monkeypatch.undo()
    passed = run(tmp_path / "output", config=_embedded(2))
    assert passed.exit_code == cli.EXIT_PUSHED, passed.printed
    assert {"InfraCheck.tiny", "Champion", "Pusher.tiny", "Pusher.champion"} <= passed.executed
    assert "Trainer.tiny" in passed.cached
    infra = passed.summary["models"]["tiny"]["infra_validation"]
    assert infra == {"passed": True, "failures": []}
    assert passed.summary["champion"] == "tiny"
