"""`cxr run --tune`, and its result in later runs (refusals: test_tuning_results.py)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli
from schema import contract

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

# Two steps of an epoch at a rate that gets nowhere: the search's first trial is bad. (Without
# dropout, no rate would be asked for.)
BAD: dict[str, Any] = {
    "training": {"learning_rate": 1e-4, "epochs": 10, "head": {"dropout": 0.1}},
    "tuning": {"trials": 3, "boundaries": ["head"]},
    "audit": {"enabled": False},
}


@pytest.fixture(scope="module")
def searched(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A first run with --tune; others may run into its output. The name has a blank."""
    outcome = run(tmp_path_factory.mktemp("tune") / "my output", "--tune", config=BAD)
    assert outcome.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), outcome.printed
    return outcome


def _model(outcome: Outcome) -> dict[str, Any]:
    model: dict[str, Any] = outcome.summary["models"]["tiny"]
    return model


def test_the_trainer_takes_what_the_tuner_found(searched: Outcome) -> None:
    assert "Tuner.tiny" in searched.executed
    tuned, training = _model(searched)["tuned"], _model(searched)["training"]
    assert (tuned["trials"], tuned["failed"]) == (3, 0)
    flat = training | {f"head.{field}": value for field, value in training["head"].items()}
    assert tuned["values"].items() <= flat.items()
    # The first trial is the configuration's recipe, and bad.
    assert training["learning_rate"] > 1e-4
    assert training["epochs"] == 10
    assert f"tiny tuned: boundary head, learning_rate {training['learning_rate']:.3g}" in (
        searched.printed
    )


def test_training_finds_the_loss_of_the_best_trial(searched: Outcome) -> None:
    (report,) = searched.output.glob(
        f"artifacts/Trainer.tiny/model_run/*/{contract.VALIDATION_FILE}"
    )
    # Another order of a sum in another thread, and no more.
    loss = json.loads(report.read_text())["loss"]
    assert loss == pytest.approx(_model(searched)["tuned"]["validation_loss"], rel=1e-3)


def test_what_was_found_is_used_again(searched: Outcome, run: Run) -> None:
    again = run(searched.output, "--tune", config=BAD)
    assert again.executed == set(), again.printed
    assert "Tuner.tiny" in again.cached
    assert _model(again) == _model(searched)

    reused = run(searched.output, "--tuned", config=BAD)
    # Its filing page says what a later run may choose.
    assert reused.executed == {"Report"}, reused.printed
    assert reused.how["Tuned.tiny"] == "resolved"
    assert "Trainer.tiny" in reused.cached
    assert _model(reused) == _model(searched)

    longer = BAD | {"training": BAD["training"] | {"epochs": 11}}
    other = run(searched.output, "--tuned", config=longer)
    assert "Trainer.tiny" in other.executed, other.printed
    assert _model(other)["training"] == _model(searched)["training"] | {"epochs": 11}
