"""Ensemble, cascade and champion of a seed, made as a run makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment
from components.evaluator.configuration import GateConfig
from pipeline.config.pipeline_config import PipelineConfig, load_config

prepare_environment()

from models.calibration import validation_report  # noqa: E402
from models.predictions import Predictions  # noqa: E402
from pipeline.study.outcomes import outcomes_of, passes  # noqa: E402
from pipeline.study.results import ResultFile, SeedResult  # noqa: E402
from schema import contract  # noqa: E402

LABELS = np.arange(30) % 3


def _answers(wrong: int, sure: float, order: np.ndarray) -> Predictions:
    """The first `wrong` images wrong, all with the same confidence; in an order of its own."""
    said = np.where(np.arange(30) < wrong, (LABELS + 1) % 3, LABELS)
    rest = (1 - sure) / 2
    flat = np.full((30, 3), rest)
    flat[np.arange(30), said] = sure
    names = np.array([f"{number:064x}" for number in range(30)])
    return Predictions(
        tuple(names[order].tolist()),
        LABELS[order],
        {contract.FLAT: flat[order], contract.HIERARCHICAL: flat[order]},
        multiply_adds=100,
    )


def _result(name: str, wrong_eval: int, wrong_test: int, seed: int = 2) -> SeedResult:
    order = np.random.default_rng(len(name)).permutation(30)
    evaluated = _answers(wrong_eval, 0.8, order)
    flat = evaluated.probabilities[contract.FLAT]
    return SeedResult(
        recipe=name,
        backbone=name,
        seed=seed,
        weights="imagenet",
        validation=validation_report(
            flat,
            evaluated.labels,
            n_classes=3,
            temperature=1.0,
            uncalibrated=flat,
            abstain_accuracy=0.9,
        ),
        eval=evaluated,
        test=_answers(wrong_test, 0.9, order[::-1]),
        seconds=1.5,
    )


def _config(**fields: Any) -> PipelineConfig:
    values = {"data": {"dir": "images"}, "backbones": ["vgg16", "xception"]}
    return load_config(overrides=values | fields)


def test_the_champion_is_chosen_by_validation_and_not_by_test() -> None:
    results = {"vgg16": _result("vgg16", 0, 3), "xception": _result("xception", 2, 0)}
    outcomes = outcomes_of(results, _config(combinations=[]))
    assert set(outcomes) == {"vgg16", "xception", "champion"}
    assert outcomes["champion"].model == "vgg16"
    assert outcomes["champion"].correct == 27


def test_the_gate_keeps_the_best_by_validation_out_where_it_fails_on_test() -> None:
    results = {"vgg16": _result("vgg16", 0, 6), "xception": _result("xception", 2, 3)}
    chosen = outcomes_of(results, _config(combinations=[], gate={"min_accuracy": 0.9}))
    assert chosen["champion"].model == "xception"
    none = outcomes_of(results, _config(combinations=[], gate={"min_accuracy": 0.95}))
    assert "champion" not in none


@pytest.mark.parametrize(
    ("correct", "total", "gate", "through"),
    [
        # TFMA's float32 of 9/10 is below 0.9, and passes there, too.
        (9, 10, {"min_accuracy": 0.9}, True),
        (899_999, 1_000_000, {"min_accuracy": 0.9}, False),
        (122, 129, {"min_accuracy": 0.9, "min_wilson_lower": 0.89}, True),
        (122, 129, {"min_accuracy": 0.9, "min_wilson_lower": 0.90}, False),
    ],
)
def test_the_gate_is_that_of_a_first_run(
    correct: int, total: int, gate: dict[str, float], through: bool
) -> None:
    assert passes(correct, total, GateConfig.model_validate(gate)) is through


def test_an_ensemble_of_equals_answers_as_each_of_them() -> None:
    """Members list their images in different orders."""
    results = {"vgg16": _result("vgg16", 3, 4), "xception": _result("xception", 3, 4)}
    outcomes = outcomes_of(results, _config(combinations=["ensemble", "cascade"]))
    for name in ("ensemble", "cascade"):
        assert outcomes[name].correct == 26
        assert sorted(outcomes[name].sha256) == list(outcomes[name].sha256)
        assert (outcomes[name].labels == LABELS).all()
    assert outcomes["ensemble"].multiply_adds == 200
    # The first member is as good as both: none is passed on.
    assert outcomes["cascade"].passed_on == 0
    assert outcomes["cascade"].multiply_adds == 100


def test_a_fused_head_is_a_candidate_and_no_member() -> None:
    results = {"vgg16": _result("vgg16", 3, 4), "xception": _result("xception", 3, 4)}
    without = outcomes_of(results, _config(combinations=["ensemble"]))
    results["fusion"] = _result("fusion", 0, 1)
    outcomes = outcomes_of(results, _config(combinations=["ensemble", "fusion"]))
    assert outcomes["ensemble"].correct == without["ensemble"].correct == 26
    assert outcomes["fusion"].correct == 29
    assert outcomes["champion"].model == "fusion"


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    result = _result("vgg16", 1, 2)
    file = ResultFile(tmp_path / "results" / "seed-2.json", "key")
    file.write(result, [f"{number}.png" for number in range(30)])
    back = file.read()
    assert back is not None
    for name in ("recipe", "backbone", "seed", "weights", "validation", "seconds"):
        assert getattr(back, name) == getattr(result, name)
    for part in ("eval", "test"):
        found, wanted = getattr(back, part), getattr(result, part)
        assert (found.sha256, found.multiply_adds) == (wanted.sha256, wanted.multiply_adds)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        for head, probabilities in wanted.probabilities.items():
            np.testing.assert_array_equal(found.probabilities[head], probabilities)
    assert back.correct == 28
    assert ResultFile(file.path, "other key").read() is None
    file.path.write_text("{")
    assert file.read() is None
