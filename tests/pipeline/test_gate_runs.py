"""The gate in whole runs: what isn't good enough is not pushed."""

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
# Stopped early, the first the earliest: one of them is some images worse than the default, by less
# than chance may make. Which one depends on the CPU, whose rounding 18 images don't average out.
HASTY: list[dict[str, Any]] = [
    {"training": {"learning_rate": 0.003, "epochs": epochs}} for epochs in (15, 25, 20, 35, 45)
]
LEVEL = 0.05
# Who guesses doesn't get nine of ten right of each of three classes.
EACH_CLASS: dict[str, Any] = {"feature": "class", "min_accuracy": 0.9, "min_images": 1}


@dataclass(frozen=True)
class Judged:
    """Runs into one output folder, in this order."""

    hopeless: Outcome
    good: Outcome
    worse: Outcome
    far_worse: Outcome
    slightly_worse: Outcome
    tolerated: Outcome
    uncertain: Outcome
    alone: Outcome
    unfair: Outcome
    too_small: Outcome


@pytest.fixture(scope="module")
def judged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The runs that the tests of this module share, since a first one is the dearest.

    One output folder on purpose: a model is judged against those that came before.
    """
    output = tmp_path_factory.mktemp("judged") / "output"
    lax: dict[str, Any] = {"min_accuracy": 0.0}
    alone = lax | {"against_baseline": False}
    tolerant = lax | {"baseline_significance": LEVEL}
    # The interval of 18 right of 18 begins at 0.824.
    strict = {"min_accuracy": 0.7, "min_wilson_lower": 0.83}
    hopeless = run(output, config=UNTRAINED | {"gate": {"min_accuracy": 0.99}})
    good = run(output)
    worse = run(output, config=UNTRAINED | {"gate": lax})
    far_worse = run(output, config=UNTRAINED | {"gate": tolerant})
    for hasty in HASTY:
        slightly_worse = run(output, config=hasty | {"gate": lax})
        if _is_slightly_worse(slightly_worse):
            break
    return Judged(
        hopeless=hopeless,
        good=good,
        worse=worse,
        far_worse=far_worse,
        slightly_worse=slightly_worse,
        tolerated=run(output, config=hasty | {"gate": tolerant}),
        uncertain=run(output, config={"gate": strict}),
        alone=run(output, config=UNTRAINED | {"gate": alone}),
        unfair=run(output, config=UNTRAINED | {"gate": alone | {"slices": [EACH_CLASS]}}),
        too_small=run(
            output,
            config=UNTRAINED | {"gate": alone | {"slices": [EACH_CLASS | {"min_images": 19}]}},
        ),
    )


def _is_slightly_worse(outcome: Outcome) -> bool:
    gate = outcome.summary["models"]["tiny"]["gate"]
    return bool(gate["accuracy"] < gate["baseline_accuracy"] and gate["mcnemar_p"] > LEVEL)


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
    assert judged.worse.exit_code == cli.EXIT_NONE_BLESSED, judged.worse.printed
    assert judged.worse.served == judged.good.served


def test_significantly_worse_is_not_blessed(judged: Judged) -> None:
    model = judged.far_worse.summary["models"]["tiny"]
    assert model["gate"]["mcnemar_p"] <= LEVEL
    assert model["blessed"] is False
    assert "(gate.baseline_significance)" in model["refused_because"]
    assert f"tiny is not blessed: {model['refused_because']}." in judged.far_worse.printed
    assert judged.far_worse.served == judged.good.served
    # Another gate is no reason to train again.
    assert "Trainer.tiny" in judged.far_worse.cached


def test_slightly_worse_is_refused_by_the_bare_comparison_alone(judged: Judged) -> None:
    good, refused, passed = (
        outcome.summary["models"]["tiny"]
        for outcome in (judged.good, judged.slightly_worse, judged.tolerated)
    )
    gate = passed["gate"]
    assert gate == refused["gate"]
    assert gate["accuracy"] < gate["baseline_accuracy"] == good["gate"]["accuracy"]
    fewer = gate["mcnemar_only_baseline_right"] - gate["mcnemar_only_candidate_right"]
    assert fewer == good["correct"] - passed["correct"]
    assert gate["mcnemar_p"] > LEVEL
    assert refused["blessed"] is False
    assert "(gate.against_baseline)" in refused["refused_because"]
    assert passed["blessed"] is True
    assert passed["refused_because"] is None
    assert judged.slightly_worse.served == judged.good.served
    assert judged.good.served.items() < judged.tolerated.served.items()


def test_an_accuracy_that_18_images_cannot_vouch_for_is_refused(judged: Judged) -> None:
    model = judged.uncertain.summary["models"]["tiny"]
    assert model["accuracy"] == judged.good.summary["models"]["tiny"]["accuracy"] >= 0.7
    assert model["gate"]["accuracy_wilson_lower"] == model["wilson95"][0] < 0.83
    assert model["blessed"] is False
    assert model["refused_because"] == (
        f"the 95 % Wilson interval of accuracy {model['accuracy']:.4f} begins at "
        f"{model['wilson95'][0]:.4f}, below 0.83 (gate.min_wilson_lower)"
    )


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


def test_a_class_that_is_read_badly_refuses_the_model_and_is_named(judged: Judged) -> None:
    passed, refused = (run.summary["models"]["tiny"] for run in (judged.alone, judged.unfair))
    assert refused["confusion"] == passed["confusion"]
    assert refused["blessed"] is False
    assert judged.unfair.exit_code == cli.EXIT_NONE_BLESSED, judged.unfair.printed
    assert judged.unfair.served == judged.alone.served
    right = {
        name: (row[index], sum(row))
        for index, (name, row) in enumerate(
            zip(judged.unfair.summary["data"]["classes"], refused["confusion"], strict=True)
        )
    }
    bad = {name: counts for name, counts in right.items() if counts[0] < 0.9 * counts[1]}
    assert bad
    assert refused["refused_because"] == "; ".join(
        f"accuracy {correct / total:.4f} on the {total} test images with class {name!r} is below "
        "0.9 (gate.slices.0.min_accuracy)"
        for name, (correct, total) in sorted(bad.items())
    )
    assert f"tiny is not blessed: {refused['refused_because']}." in judged.unfair.printed


def test_classes_with_too_few_images_are_not_judged(judged: Judged) -> None:
    model = judged.too_small.summary["models"]["tiny"]
    assert model["total"] == 18
    assert model["refused_because"] is None
    assert model["blessed"] is True
    assert judged.too_small.exit_code == cli.EXIT_PUSHED, judged.too_small.printed
    # Another gate is no reason to train again.
    assert "Trainer.tiny" in judged.too_small.cached
