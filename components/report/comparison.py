"""One model against another on the same images, and against the paper on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from scipy.stats import binomtest, fisher_exact

from components.report.answers import TestAnswers
from components.report.judgement import share
from models.backbones import BACKBONES, are_the_papers
from schema.contract import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT

# The usual one; what is above it is called chance.
SIGNIFICANT: Final = 0.05


def mcnemar_two_sided(only_first: int, only_second: int) -> float:
    """Test by McNemar, two-sided and exact: do two models differ on the same images?

    McNemar 1947, with the binomial distribution instead of its approximation. By convention
    1.0 where no image tells them apart.

    Args:
        only_first: images that the first model alone gets right.
        only_second: images that the second model alone gets right.
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def pairs(answers: Mapping[str, TestAnswers]) -> list[dict[str, Any]]:
    """Compare each two models on the images that both were tested on, which are all.

    Args:
        answers: model -> its answers.

    Returns:
        `first` and `second`, `only_first_right`, `only_second_right`, `p`, and whether that
        is `significant`.

    Raises:
        ValueError: two models were not asked the same images.
    """
    return [_pair(a, b, answers[a], answers[b]) for a, b in combinations(answers, 2)]


def _pair(first: str, second: str, one: TestAnswers, other: TestAnswers) -> dict[str, Any]:
    if one.sha256 != other.sha256:
        raise ValueError(f"{first} and {second} were not tested on the same images")
    only_first = int((one.right & ~other.right).sum())
    only_second = int((other.right & ~one.right).sum())
    p = mcnemar_two_sided(only_first, only_second)
    return {
        "first": first,
        "second": second,
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p": p,
        "significant": p < SIGNIFICANT,
    }


def against_baseline(
    accuracy: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Compare a model with the earlier one that the gate compared it with, on the same images.

    Args:
        accuracy: the model's, a `share`.
        metrics: TFMA's of all test images, by name.

    Returns:
        `accuracy` (the baseline's, a `share`), `only_candidate_right`, `only_baseline_right`,
        McNemar's two-sided `p`, and whether that is `significant`; None without a baseline.
    """
    if ONLY_BASELINE_RIGHT not in metrics:
        return None
    only_new, only_old = (
        round(float(metrics[name]["doubleValue"]))
        for name in (ONLY_CANDIDATE_RIGHT, ONLY_BASELINE_RIGHT)
    )
    p = mcnemar_two_sided(only_new, only_old)
    return {
        "accuracy": share(accuracy["count"] - only_new + only_old, accuracy["total"]),
        "only_candidate_right": only_new,
        "only_baseline_right": only_old,
        "p": p,
        "significant": p < SIGNIFICANT,
    }


def against_paper(
    name: str, correct: int, total: int, classes: Sequence[str]
) -> dict[str, Any] | None:
    """Compare a backbone's test accuracy with the paper's, which is of other images.

    Fisher's exact test (R. A. Fisher, "On the interpretation of chi-squared from contingency
    tables, and the calculation of P", J. R. Stat. Soc. 85 (1922), 87–94), two-sided.

    Args:
        name: of the model.
        correct: test images that it gets right.
        total: test images.
        classes: names in label order.

    Returns:
        `accuracy` (the paper's, a `share`), its `confusion` in the order of `classes`, `p`, and
        whether the difference is `significant`; None for a model that the paper doesn't know, and
        where the classes are others than the paper's.
    """
    result = BACKBONES[name].paper_result if name in BACKBONES else None
    if result is None or not are_the_papers(classes):
        return None
    table = [
        [correct, total - correct],
        [result.correct, result.total - result.correct],
    ]
    p = float(fisher_exact(table)[1])
    return {
        "accuracy": share(result.correct, result.total),
        "confusion": result.confusion_of(classes),
        "p": p,
        "significant": p < SIGNIFICANT,
    }
