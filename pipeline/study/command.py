"""`cxr study`: everything from the configuration to the report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import InputError
from common.runtime import make_folder, prepare_environment, scratch_below
from pipeline.config.data import SPAN
from pipeline.config.pipeline_config import PipelineConfig, check_inputs
from pipeline.resolve.engine import resolve_engine
from pipeline.resolve.weights import resolve_weights

if TYPE_CHECKING:
    from pipeline.check.images import ImagePool
    from pipeline.study.experiment import Experiment
    from pipeline.study.results import SeedResult

REPORT_FILE = "study.json"
TABLE_FILE = "study.md"


class Screen(Protocol):
    """Is told of warnings, and how the study comes along."""

    def warn(self, sentence: str) -> None:
        """Tell what the user should know, but what stops nothing."""

    def featurized(self, backbone: str, done: int, total: int) -> None:
        """Take note that some more images went through a frozen network."""

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        """Take note that a result is there, now or from before."""


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """Return the seeds of a study.

    Raises:
        InputError: a number is out of range.
    """
    if count < 1:
        raise InputError(f"seeds: {count} is too few; give at least 1.")
    if first < 0 or first + count > 2**31:
        raise InputError(f"first-seed: {first}; seeds lie between 0 and 2³¹ - 1.")
    return tuple(range(first, first + count))


@dataclass(frozen=True)
class Opened:
    """The parts that a study needs.

    Attributes:
        experiment: computes results, or finds them.
        pool: the images.
        weights: backbone -> label of its weights.
    """

    experiment: Experiment
    pool: ImagePool
    weights: dict[str, str]


@contextlib.contextmanager
def open_experiment(
    config: PipelineConfig, seeds: Sequence[int], screen: Screen, *, every_tap: bool = False
) -> Iterator[Opened]:
    """Prepare weights, engine and images, and what computes results from them.

    Args:
        config: the checked configuration.
        seeds: for each of them the images are split, so that what is wrong is said at once.
        screen: is told of warnings and progress.
        every_tap: see `pipeline.study.experiment.Experiment`.

    Yields:
        Experiment and images. Temporary files are below the output folder, and gone at the end.

    Raises:
        InputError: bad input, or an output folder that can't be written to.
    """
    check_inputs(config)
    if config.data.in_spans:
        raise InputError(
            f"data.dir: a study splits the images anew for every seed, and those of {SPAN} keep "
            "their split; give a folder without it, such as that of one span."
        )
    if config.tabled:
        raise InputError(
            "table.models: a study's models see images alone, and it has no "
            f"{' and no '.join(config.tabled)}; give `table: {{models: []}}` for the study. "
            "`cxr run` compares them with the image, out of fold and by patient."
        )
    if config.tuning.mode != "off":
        raise InputError(
            "tuning.mode: a study compares recipes over seeds and searches for none; give "
            "what a search found as training_overrides."
        )
    make_folder(config.output)
    with scratch_below(config.output):
        prepare_environment()
        weights = resolve_weights(config, screen.warn)
        engine = resolve_engine(config.featurizer, screen.warn)

        from pipeline.check.images import inspect_images
        from pipeline.study.experiment import Experiment

        pool = inspect_images(config)
        experiment = Experiment(config, weights, engine, pool, screen, every_tap=every_tap)
        _warn_of_data(experiment, pool, seeds, screen.warn)
        labels = {name: source.label for name, source in weights.items()}
        yield Opened(experiment, pool, labels)


def run_study(config: PipelineConfig, seeds: Sequence[int], screen: Screen) -> dict[str, Any]:
    """Run what is missing, and report on everything.

    Args:
        config: the checked configuration; its seed plays no part.
        seeds: distinct.
        screen: is told of warnings and progress.

    Returns:
        The content of `study.json`.

    Raises:
        InputError: bad input, or an output folder that can't be written to.
        FloatingPointError: a training diverged.
    """
    started = time.monotonic()
    with open_experiment(config, seeds, screen) as opened:
        from components.radiograph_example_gen.selection import summarize
        from pipeline.study.files import write_json, write_text
        from pipeline.study.fusion import fused_parts, run_fusion
        from pipeline.study.machine import describe_code, describe_machine
        from pipeline.study.outcomes import outcomes_of
        from pipeline.study.report import study_report
        from pipeline.study.results import Recipe
        from pipeline.study.tables import markdown

        experiment, pool = opened.experiment, opened.pool
        counting = _Counting(screen)
        experiment.listener = counting
        recipes = [Recipe(name, name, config.training_for(name)) for name in config.backbones]
        results = experiment.run(recipes, seeds, beside=fused_parts(config))
        results += run_fusion(config, experiment, recipes, seeds)
        outcomes = {
            seed: outcomes_of({r.backbone: r for r in results if r.seed == seed}, config)
            for seed in seeds
        }
        splits = [
            summarize(replace(pool.settings, seed=seed), experiment.decision(seed))
            for seed in seeds
        ]
        report = {
            "date": datetime.now(timezone.utc).date().isoformat(),
            "machine": describe_machine(),
            "code": describe_code(),
            "engine": asdict(experiment.engine),
            "preset": config.preset,
            "recipes": {r.name: r.params.model_dump(mode="json") for r in recipes},
            **study_report(outcomes, splits, pool, opened.weights),
            "results": len(results),
            "reused": counting.reused,
            "seconds": {
                "total": time.monotonic() - started,
                "training": sum(result.seconds for result in results),
            },
        }
        write_json(config.output / REPORT_FILE, report)
        write_text(config.output / TABLE_FILE, markdown(report))
    return report


class _Counting:
    """Hands on, and counts what was there already."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.reused = 0

    def featurized(self, backbone: str, done: int, total: int) -> None:
        self._screen.featurized(backbone, done, total)

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        self.reused += not computed
        self._screen.finished(result, computed=computed)


def _warn_of_data(
    experiment: Experiment, pool: ImagePool, seeds: Sequence[int], warn: Callable[[str], None]
) -> None:
    """Split for every seed, and warn as a run does of its data."""
    from components.radiograph_example_gen.discovery import Kind

    for item in pool.usable.left_out:
        if item.kind is Kind.BAD:
            warn(f"left out: {item.path}: {item.reason}")
    for seed in seeds:
        for missed in experiment.decision(seed).split.deviations:
            warn(
                f"split of seed {seed}: class {missed.class_name}: {missed.split} {missed.got} "
                f"instead of {missed.wanted}: {missed.reason}"
            )
