"""Whole runs in which the audit stops a push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components.shortcut_audit.report import read_audit
from pipeline import cli

if TYPE_CHECKING:
    from tests.pipeline.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

# Guessing is above it.
STRICT: dict[str, Any] = {"audit": {"max_shortcut_accuracy": 0.0}}
LAX: dict[str, Any] = {"audit": {"max_shortcut_accuracy": 1.0, "max_patients_across_splits": 0}}


def test_above_a_limit_nothing_is_pushed_and_the_run_says_why(run: Run, tmp_path: Path) -> None:
    stopped = run(tmp_path / "output", config=STRICT)
    assert stopped.exit_code == cli.EXIT_NONE_BLESSED, stopped.printed
    summary = stopped.summary
    assert summary["models"]["tiny"]["blessed"] is True
    assert summary["models"]["tiny"]["pushed_to"] is None
    assert summary["champion"] == "tiny"
    assert summary["champion_pushed_to"] is None
    assert stopped.served == {}
    audit = summary["audit"]
    assert audit["passed"] is False
    assert audit["findings"]
    assert len(audit["failures"]) == 3
    for failure in audit["failures"]:
        assert failure.endswith("above 0 (audit.max_shortcut_accuracy)")
        assert f"Nothing is pushed: {failure}." in stopped.printed
    assert "The audit's limits are exceeded, so no model was pushed." in stopped.printed
    assert "No model was blessed" not in stopped.printed
    assert read_audit(str(Path(audit["report"]).parent))["failures"] == audit["failures"]

    again = run(tmp_path / "output", config=STRICT)
    assert again.exit_code == cli.EXIT_NONE_BLESSED, again.printed
    assert {"ShortcutAudit", "Pusher.tiny", "Pusher.champion"} <= again.cached
    assert again.summary["audit"] == audit

    passed = run(tmp_path / "output", config=LAX)
    assert passed.exit_code == cli.EXIT_PUSHED, passed.printed
    assert {"ShortcutAudit", "Pusher.tiny", "Pusher.champion"} <= passed.executed
    assert {"Trainer.tiny", "Evaluator.tiny"} <= passed.cached
    assert passed.summary["audit"]["passed"] is True
    assert passed.summary["models"]["tiny"]["pushed_to"]
    assert passed.summary["champion_pushed_to"]
