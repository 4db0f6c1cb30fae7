"""The outcomes of all models with one seed, from the backbones' results: as in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.intervals import wilson95
from components.evaluator.configuration import GateConfig
from models.choice import choose
from models.combination import combine, fit_combination, is_passed_on
from models.predictions import Predictions, aligned
from models.rule import Kind
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.study.results import SeedResult
from schema import contract


@dataclass(frozen=True)
class Outcome:
    """The outcome of one model with one seed.

    Attributes:
        seed: of split and training.
        validation: see `models.calibration.validation_report`.
        sha256: of the test images.
        labels: int64 [images].
        probabilities: calibrated, float64 [images, n].
        multiply_adds: for a test image, on average.
        passed_on: of a cascade: the share of the test images that its first member was too
            unsure of.
        model: of the champion: which model it is.
    """

    seed: int
    validation: dict[str, Any]
    sha256: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    multiply_adds: float
    passed_on: float | None = None
    model: str | None = None

    @property
    def predicted(self) -> np.ndarray:
        """Class index of each test image, int64 [images]."""
        predicted: np.ndarray = self.probabilities.argmax(axis=-1)
        return predicted

    @property
    def correct(self) -> int:
        """Test images that are read correctly."""
        return int((self.predicted == self.labels).sum())


def outcomes_of(results: Mapping[str, SeedResult], config: PipelineConfig) -> dict[str, Outcome]:
    """Compute all models' outcomes with one seed.

    Args:
        results: backbone, or what else is trained, -> its result with that seed.
        config: says what to combine, and what a champion has to reach.

    Returns:
        Model -> outcome; `champion` only where a model passed the gate.
    """
    members = {name: results[name] for name in config.backbones}
    outcomes = {name: _of_trained(result) for name, result in members.items()}
    judged = {name: result.eval for name, result in members.items()}
    for kind in config.combined:
        if kind == "fusion":
            outcomes[kind], judged[kind] = _of_trained(results[kind]), results[kind].eval
        else:
            outcomes[kind], judged[kind] = _of_combination(kind, members, config)
    passed = {
        name: judged[name]
        for name, outcome in outcomes.items()
        if passes(outcome.correct, len(outcome.labels), config.gate)
    }
    best = choose(passed, config.champion.prefer)
    if best is not None:
        outcomes[contract.CHAMPION] = replace(outcomes[best], model=best)
    return outcomes


def passes(correct: int, total: int, gate: GateConfig) -> bool:
    """Return whether a first run's gate, where there is no baseline, lets a model through.

    Args:
        correct: test images that are read correctly.
        total: test images.
        gate: what is asked for.
    """
    # Like `components.evaluator.eval_config`, which sees TFMA's float32: 0.9 of the images is 0.9.
    accuracy = np.float32(correct / total)
    floor = np.nextafter(np.float32(gate.min_accuracy), np.float32(-1))
    wilson = gate.min_wilson_lower
    return bool(accuracy >= floor) and (wilson is None or wilson95(correct, total)[0] >= wilson)


def _of_trained(result: SeedResult) -> Outcome:
    return Outcome(
        seed=result.seed,
        validation=result.validation,
        sha256=result.test.sha256,
        labels=result.test.labels,
        probabilities=result.test.probabilities[contract.FLAT],
        multiply_adds=result.test.multiply_adds,
    )


def _of_combination(
    kind: Kind, results: Mapping[str, SeedResult], config: PipelineConfig
) -> tuple[Outcome, Predictions]:
    """Return what it came to, and the answers that it is judged by."""
    fitted = fit_combination(
        kind,
        {name: result.eval for name, result in results.items()},
        n_classes=len(config.data.classes),
        abstain_accuracy=config.abstain_accuracy,
    )
    members = aligned([results[name].test for name in fitted.rule.members])
    answers = [member.probabilities for member in members]
    costs = [member.multiply_adds for member in members]
    share = float(is_passed_on(fitted.rule, answers).mean()) if kind == contract.CASCADE else None
    outcome = Outcome(
        seed=next(iter(results.values())).seed,
        validation=fitted.validation,
        sha256=members[0].sha256,
        labels=members[0].labels,
        probabilities=combine(fitted.rule, answers),
        multiply_adds=costs[0] + (1.0 if share is None else share) * sum(costs[1:]),
        passed_on=share,
    )
    return outcome, fitted.predictions
