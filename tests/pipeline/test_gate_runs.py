"""The gate in whole runs: what isn't good enough is not pushed. Its rules: test_tfma_metrics.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

# The runs that all tests share count as the first one's time.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

# Guesses: no step of this rate moves a weight.
UNTRAINED: dict[str, Any] = {
    "training": {"learning_rate": 1e-9, "epochs": 1, "head": {"kind": "paper"}}
}


@dataclass(frozen=True)
class Judged:
    """Runs into one output folder, in this order."""

    hopeless: Outcome
    good: Outcome
    worse: Outcome
    alone: Outcome


@pytest.fixture(scope="module")
def judged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The runs that the tests of this module share, since a first one is the dearest.

    One output folder on purpose: a model is judged against those that came before.
    """
    output = tmp_path_factory.mktemp("judged") / "output"
    lax: dict[str, Any] = {"min_accuracy": 0.0}
    return Judged(
        hopeless=run(output, config=UNTRAINED | {"gate": {"min_accuracy": 0.99}}),
        good=run(output),
        worse=run(output, config=UNTRAINED | {"gate": lax}),
        alone=run(output, config=UNTRAINED | {"gate": lax | {"against_baseline": False}}),
    )


def test_an_unreached_gate_pushes_nothing_and_exits_with_3(judged: Judged) -> None:
    outcome = judged.hopeless
    assert outcome.exit_code == cli.EXIT_NONE_BLESSED, outcome.printed
    assert "No model was blessed" in outcome.printed
    model = outcome.summary["models"]["tiny"]
    assert model["blessed"] is False
    assert model["pushed_to"] is None
    assert outcome.summary["champion"] is None
    assert outcome.summary["champion_pushed_to"] is None
    assert outcome.served == {}


def test_a_model_that_reaches_it_is_pushed_afterwards(judged: Judged) -> None:
    assert judged.good.exit_code == cli.EXIT_PUSHED, judged.good.printed
    assert judged.good.summary["models"]["tiny"]["blessed"] is True
    assert judged.good.served


def test_a_worse_model_than_the_baseline_is_not_blessed(judged: Judged) -> None:
    worse, better = (run.summary["models"]["tiny"] for run in (judged.worse, judged.good))
    assert worse["accuracy"] < better["accuracy"]
    assert worse["blessed"] is False
    assert worse["refused_because"].endswith("(gate.against_baseline)")
    assert f"tiny is not blessed: {worse['refused_because']}." in judged.worse.printed
    assert judged.worse.exit_code == cli.EXIT_NONE_BLESSED, judged.worse.printed
    assert judged.worse.served == judged.good.served


def test_the_confidence_curve_begins_with_all_images(judged: Judged) -> None:
    from components.evaluation_results import confidence_curve
    from pipeline.layout import OutputLayout
    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(judged.alone.output))
    curve = confidence_curve(outputs.uri("Evaluator.tiny", "evaluation"))
    model = judged.alone.summary["models"]["tiny"]
    assert curve[0] == (0.0, model["total"], model["correct"])
    # A third of three classes is the least that the highest probability can be.
    assert curve[33] == (0.33, model["total"], model["correct"])
    answered = [count for _, count, _ in curve]
    assert answered == sorted(answered, reverse=True)
    assert answered[-1] < answered[0]


def test_a_worse_model_is_blessed_where_the_baseline_does_not_count(judged: Judged) -> None:
    assert judged.alone.summary["models"]["tiny"]["blessed"] is True
    assert judged.alone.exit_code == cli.EXIT_PUSHED, judged.alone.printed
    assert judged.good.served.items() < judged.alone.served.items()
    # Another gate is no reason to train again.
    assert {"Trainer.tiny", "Featurizer.tiny"} <= judged.alone.cached
    assert "Evaluator.tiny" in judged.alone.executed
