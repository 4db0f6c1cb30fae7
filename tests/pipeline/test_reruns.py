"""One output folder, run into again and again: what is computed, refused and pushed each time.

The gate's rules, one by one: components/evaluator/test_metrics.py and test_slice_gate.py. Here they
meet the run.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components.infra_check import requests_sent
from components.shortcut_audit.report import read_audit
from pipeline import cli

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

# The runs that all tests share count as the first one's time.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

PUSHERS = {"Pusher.tiny", "Pusher.champion"}
JUDGED = {"Baseline.tiny", "Inferrer.tiny", "Evaluator.tiny", "ModelCard.tiny", *PUSHERS} | {
    "InfraCheck.tiny",
    "Champion",
    "Report",
}
# Guesses: no step of this rate moves a weight.
UNTRAINED: dict[str, Any] = {
    "training": {"learning_rate": 1e-9, "epochs": 1, "head": {"kind": "paper"}}
}
LEVEL = 0.05
# Guessing is above it.
NO_SHORTCUT: dict[str, Any] = {"audit": {"max_shortcut_accuracy": 0.0}}
ANY_SHORTCUT: dict[str, Any] = {
    "audit": {"max_shortcut_accuracy": 1.0, "max_patients_across_splits": 0}
}
# Who guesses doesn't get nine of ten right of each of three classes.
EACH_CLASS: dict[str, Any] = {"feature": "class", "min_accuracy": 0.9, "min_images": 1}
STRICT: dict[str, Any] = {
    "min_accuracy": 0.9,
    # The interval of 18 right of 18 begins at 0.824.
    "min_wilson_lower": 0.83,
    "baseline_significance": LEVEL,
    "slices": [EACH_CLASS],
}
# As many images as no class has.
NO_CLASS: dict[str, Any] = {"slices": [EACH_CLASS | {"min_images": 19}]}
LAX: dict[str, Any] = NO_CLASS | {"min_accuracy": 0.0, "against_baseline": False}


def _served(images: int) -> dict[str, Any]:
    return ANY_SHORTCUT | {"infra_validation": {"mode": "embedded", "images": images}}


@dataclass(frozen=True)
class Runs:
    """In this order."""

    audited: Outcome
    good: Outcome
    worse: Outcome
    unservable: Outcome

    @property
    def all(self) -> list[Outcome]:
        """The four."""
        return [self.audited, self.good, self.worse, self.unservable]


@pytest.fixture(scope="module")
def runs(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One output folder on purpose: a model is judged against those that came before."""
    # With blanks, which users' folders have.
    output = tmp_path_factory.mktemp("re runs") / "my output"
    audited = run(output, config=UNTRAINED | NO_SHORTCUT | {"gate": {"min_accuracy": 0.0}})
    good = run(output, config=_served(2) | {"gate": NO_CLASS | {"min_accuracy": 0.5}})
    worse = run(output, config=UNTRAINED | _served(2) | {"gate": STRICT})
    with pytest.MonkeyPatch.context() as patch:
        # Nothing is as close as that: the same as a model whose served answers are off.
        patch.setattr(requests_sent, "OWN_TOLERANCE", -1.0)
        unservable = run(output, config=UNTRAINED | _served(1) | {"gate": LAX})
    return Runs(audited, good, worse, unservable)


def _model(outcome: Outcome) -> dict[str, Any]:
    model: dict[str, Any] = outcome.summary["models"]["tiny"]
    return model


def test_each_run_computes_what_changed_and_what_depends_on_it(runs: Runs) -> None:
    assert runs.audited.cached == set()
    # Another recipe and another limit.
    assert runs.good.executed == {"ShortcutAudit", "Trainer.tiny"} | JUDGED
    assert runs.good.cached == runs.audited.executed - runs.good.executed
    # The first recipe again, which isn't trained again, and then another gate.
    for outcome in (runs.worse, runs.unservable):
        assert outcome.executed <= JUDGED
        assert {"Evaluator.tiny", "InfraCheck.tiny"} <= outcome.executed
        assert {"Trainer.tiny", "ShortcutAudit"} <= outcome.cached
        assert _model(outcome)["training"] == _model(runs.audited)["training"]
        assert _model(outcome)["confusion"] == _model(runs.audited)["confusion"]


def test_above_an_audits_limit_nothing_is_pushed_and_the_run_says_why(runs: Runs) -> None:
    stopped = runs.audited
    assert stopped.exit_code == cli.EXIT_NONE_BLESSED, stopped.printed
    assert _model(stopped)["blessed"] is True
    assert _model(stopped)["pushed_to"] is None
    assert stopped.summary["champion"] == "tiny"
    assert stopped.summary["champion_pushed_to"] is None
    assert stopped.served == {}
    audit = stopped.summary["audit"]
    assert audit["passed"] is False
    assert audit["findings"]
    assert len(audit["failures"]) == 3
    for failure in audit["failures"]:
        assert failure.endswith("above 0 (audit.max_shortcut_accuracy)")
        assert f"Nothing is pushed: {failure}." in stopped.printed
    assert "The audit's limits are exceeded, so no model was pushed." in stopped.printed
    assert "No model was blessed" not in stopped.printed
    assert read_audit(str(Path(audit["report"]).parent))["failures"] == audit["failures"]
    assert runs.good.summary["audit"]["passed"] is True


def test_what_passes_audit_gate_and_server_is_pushed(runs: Runs) -> None:
    assert runs.good.exit_code == cli.EXIT_PUSHED, runs.good.printed
    assert _model(runs.good)["blessed"] is True
    assert _model(runs.good)["refused_because"] is None
    assert _model(runs.good)["infra_validation"] == {"passed": True, "failures": []}
    assert runs.good.summary["champion"] == "tiny"
    for pushed in (_model(runs.good)["pushed_to"], runs.good.summary["champion_pushed_to"]):
        assert (Path(pushed) / "saved_model.pb").is_file()
    assert runs.good.served


def test_a_model_that_the_gate_refuses_is_not_pushed_and_each_reason_is_said(runs: Runs) -> None:
    outcome, model = runs.worse, _model(runs.worse)
    assert outcome.exit_code == cli.EXIT_NONE_BLESSED, outcome.printed
    assert model["blessed"] is False
    assert model["pushed_to"] is None
    assert outcome.summary["champion"] is None
    assert outcome.summary["champion_pushed_to"] is None
    assert outcome.served == runs.good.served
    assert "No model was blessed" in outcome.printed
    assert f"tiny is not blessed: {model['refused_because']}." in outcome.printed

    gate, accuracy = model["gate"], f"accuracy {model['accuracy']:.4f}"
    assert gate["accuracy"] < gate["baseline_accuracy"] == _model(runs.good)["gate"]["accuracy"]
    fewer = gate["mcnemar_only_baseline_right"] - gate["mcnemar_only_candidate_right"]
    assert fewer == _model(runs.good)["correct"] - model["correct"] > 0
    assert gate["mcnemar_p"] <= LEVEL
    # Some patients have several images, so the gate's begins lower than that of single images.
    lower = gate["accuracy_wilson_lower"]
    assert lower <= model["wilson95"][0] < 0.83
    reasons = model["refused_because"].split("; ")
    assert f"{accuracy} is below 0.9 (gate.min_accuracy)" in reasons
    assert (
        f"the 95 % Wilson interval of {accuracy} begins at {lower:.4f}, "
        "below 0.83 (gate.min_wilson_lower)"
    ) in reasons
    (significant,) = (one for one in reasons if one.endswith("(gate.baseline_significance)"))
    assert significant.startswith(f"{accuracy} is significantly below the baseline's ")
    right = {
        name: (row[index], sum(row))
        for index, (name, row) in enumerate(
            zip(outcome.summary["data"]["classes"], model["confusion"], strict=True)
        )
    }
    bad = {name: counts for name, counts in right.items() if counts[0] < 0.9 * counts[1]}
    assert bad
    assert reasons[3:] == [
        f"accuracy {correct / total:.4f} on the {total} test images with class {name!r} is below "
        "0.9 (gate.slices.0.min_accuracy)"
        for name, (correct, total) in sorted(bad.items())
    ]


def test_where_the_gate_asks_for_less_the_same_model_passes_it(runs: Runs) -> None:
    """No baseline counts, and no class has as many images as its rule wants."""
    model = _model(runs.unservable)
    assert model["confusion"] == _model(runs.worse)["confusion"]
    assert model["total"] == 18
    assert model["blessed"] is True
    assert model["refused_because"] is None


def test_what_cannot_be_served_is_not_pushed(runs: Runs) -> None:
    refused = runs.unservable
    assert refused.exit_code == cli.EXIT_NONE_BLESSED, refused.printed
    infra = _model(refused)["infra_validation"]
    assert not infra["passed"]
    assert "off the SavedModel's own" in infra["failures"][0]
    assert f"tiny can't be served: {infra['failures'][0]} (and " in refused.printed
    assert refused.summary["champion"] is None
    assert refused.summary["champion_pushed_to"] is None
    assert _model(refused)["pushed_to"] is None
    assert refused.served == runs.good.served


def test_cxr_runs_lists_them_as_their_summaries_did(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _printed_json(capsys, "runs", "--output", str(runs.good.output))
    assert len(listed) == len(runs.all)
    assert [run["run"] for run in listed] == sorted(run["run"] for run in listed)
    for run, outcome in zip(listed, runs.all, strict=True):
        chosen = outcome.summary["champion"]
        assert run["state"] == ("complete" if chosen else "none blessed")
        assert run["champion"] == chosen
        assert run["data"]["counts"] == outcome.summary["data"]["counts"]
        for key in ("accuracy", "correct", "total", "blessed", "pushed_to"):
            assert run["models"]["tiny"][key] == _model(outcome)[key]
        nodes = {"executed": len(outcome.executed), "cached": len(outcome.cached)}
        assert run["nodes"] == nodes
        assert run["artifacts"]["gone"] == 0
        assert run["exit"] == outcome.exit_code
        assert run["seconds"] >= outcome.summary["seconds"]["total"] > 0


def test_cxr_runs_diff_finds_the_fields_that_were_changed(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(runs.good.output)
    ids = [run["run"] for run in _printed_json(capsys, "runs", "--output", output)]
    found = _printed_json(capsys, "runs", "diff", ids[1], ids[2], "--output", output)
    assert found["code"] == []
    assert found["same_data"] is True
    changed = {change["field"]: (change["a"], change["b"]) for change in found["configuration"]}
    before, after = (_model(run)["training"] for run in (runs.good, runs.worse))
    for recipe in ("training", "training_of.tiny"):
        assert changed[f"{recipe}.learning_rate"] == (0.01, 1e-9)
        assert changed[f"{recipe}.epochs"] == (60, 1)
    for field in ("kind", "taps"):
        kept = (before["head"][field], after["head"][field])
        assert changed[f"training_of.tiny.head.{field}"] == kept
    assert {field.split(".")[0] for field in changed} == {"gate", "training", "training_of"}
    gate = _model(runs.worse)["gate"]
    # The first model is the other one's baseline.
    assert found["only_one_right"] == {
        "tiny": {
            "a": gate["mcnemar_only_baseline_right"],
            "b": gate["mcnemar_only_candidate_right"],
        }
    }


def _printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["cxr", *arguments, "--json"])
        cli.main()
    assert not stopped.value.code
    return json.loads(capsys.readouterr().out)
