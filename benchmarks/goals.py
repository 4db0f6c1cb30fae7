"""The goals that this project has set itself for the paper's task, beside what a study reached.

    python -m benchmarks.goals OUTPUT/study.json

A goal is a mean over the study's seeds. Behind what was reached stands its standard error over the
seeds, so that a goal missed by less than that can be told from one that is far away. Ends with 1
where a goal is missed.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.words import percent
from pipeline.study.tables import github_table
from schema import contract

# A champion may fall behind the best single candidate by so much, a share of the images.
CHAMPION_BEHIND: Final = 0.002
_HEADER: Final = ("model", "what", "goal", "reached ± standard error", "")


@dataclass(frozen=True)
class Goal:
    """A bound for a figure that each seed has.

    Attributes:
        model: of the study.
        what: the figure's name, for people.
        figure: a seed of `study.json` -> the figure.
        bound: that the mean over the seeds has to reach.
        at_most: the mean is to be at most the bound, and not at least.
        shown: the figure as text.
    """

    model: str
    what: str
    figure: Callable[[Mapping[str, Any]], float]
    bound: float
    at_most: bool = False
    shown: Callable[[float], str] = lambda value: percent(value, 2)

    def row(self, seeds: list[Mapping[str, Any]]) -> tuple[list[str], bool]:
        """Write the cells under the header, and say whether the goal is met.

        Args:
            seeds: the model's `per_seed` in `study.json`.
        """
        figures = [self.figure(seed) for seed in seeds]
        mean = statistics.fmean(figures)
        # A mean of counts that is exactly the goal mustn't fail by its rounding.
        met = mean <= self.bound + 1e-12 if self.at_most else mean >= self.bound - 1e-12
        spread = ""
        if len(figures) > 1:
            spread = f" ± {self.shown(statistics.stdev(figures) / math.sqrt(len(figures)))}"
        bound = f"{'≤' if self.at_most else '≥'} {self.shown(self.bound)}"
        reached = f"{self.shown(mean)}{spread}"
        return [self.model, self.what, bound, reached, "met" if met else "**missed**"], met


def _accuracy(seed: Mapping[str, Any]) -> float:
    return float(seed["correct"] / seed["total"])


def _loss(seed: Mapping[str, Any]) -> float:
    return float(seed["validation_loss"])


def _nats(value: float) -> str:
    return f"{value:.4f}"


GOALS: Final = (
    Goal(contract.FUSION, "test accuracy", _accuracy, 0.987),
    Goal(contract.FUSION, "log loss out of fold", _loss, 0.04, at_most=True, shown=_nats),
    Goal(contract.CHAMPION, "test accuracy", _accuracy, 0.985),
    Goal("vgg16", "test accuracy", _accuracy, 0.975),
    Goal("xception", "test accuracy", _accuracy, 0.969),
    Goal("densenet121", "test accuracy", _accuracy, 0.962),
    Goal(contract.ENSEMBLE, "test accuracy", _accuracy, 0.982),
)
# Of all seeds' test images together, at the thresholds that are to make 99 % of the answers right.
_ANSWERED: Final = 0.95
_ANSWERED_RIGHT: Final = 0.993


def goal_rows(report: Mapping[str, Any]) -> tuple[list[list[str]], bool]:
    """Hold a study against the goals.

    Args:
        report: what `study.json` holds.

    Returns:
        A row a goal whose model the study has, and whether all of them are met.
    """
    models = report["models"]
    judged = [goal.row(models[goal.model]["per_seed"]) for goal in GOALS if goal.model in models]
    if contract.CHAMPION in models:
        judged += [_beside_the_best(models), *_abstaining(models[contract.CHAMPION]["abstain"])]
    return [row for row, _ in judged], all(met for _, met in judged)


def _beside_the_best(models: Mapping[str, Any]) -> tuple[list[str], bool]:
    means = {name: model["mean"] for name, model in models.items() if name != contract.CHAMPION}
    best = max(means, key=lambda name: means[name])
    behind = means[best] - models[contract.CHAMPION]["mean"]
    met = behind <= CHAMPION_BEHIND + 1e-12
    row = [contract.CHAMPION, f"behind {best}, the best candidate over the seeds"]
    cells = [f"≤ {percent(CHAMPION_BEHIND, 2)}", percent(behind, 2)]
    return [*row, *cells, "met" if met else "**missed**"], met


def _abstaining(abstain: Mapping[str, Any]) -> list[tuple[list[str], bool]]:
    judged = []
    for what, value, bound in (
        ("test images answered, with abstaining", abstain["coverage"], _ANSWERED),
        ("right of those", abstain["accuracy"] or 0.0, _ANSWERED_RIGHT),
    ):
        met = value >= bound - 1e-12
        cells = [contract.CHAMPION, what, f"≥ {percent(bound, 2)}", percent(value, 2)]
        judged.append(([*cells, "met" if met else "**missed**"], met))
    return judged


def main() -> None:
    """Print the table of the study that the first argument names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.goals OUTPUT/study.json")
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows, met = goal_rows(report)
    print(github_table(_HEADER, rows))
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
