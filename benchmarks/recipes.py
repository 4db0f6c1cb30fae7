"""The best recipe for each backbone, by the validation split, over several seeds.

    python -m benchmarks.recipes --data DIR --weights-dir DIR [--only head] [--seeds 5]

The variants are in recipes.yaml. A frozen network's heads are judged out of fold, a trained block
by the validation split, so by other images (`training.validation`). What decides is the mean
validation accuracy, then the mean validation loss. But a costlier recipe must be better than the
best cheaper one by more than one standard error of their difference, paired by seed: the
one-standard-error rule of Breiman et al. (1984). The mirror doubles the features to compute, crops
take six times as many, and a trained block takes minutes where a head takes seconds. Test
accuracy stands beside it for information, and must not decide: the test splits are there to say,
without bias, how good the chosen recipe is. Goes on where it stopped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml

from common.errors import InputError
from common.runtime import logs_to
from models.augmentation_names import IMAGE_AND_MIRROR
from models.backbones import BOUNDARY_HEAD
from pipeline.config.layers import merge
from pipeline.config.pipeline_config import load_config
from pipeline.study.command import open_experiment, seeds_from
from pipeline.study.files import write_text
from pipeline.study.screen import StudyScreen

if TYPE_CHECKING:
    from models.hyperparameters import TrainingParams
    from pipeline.study.results import Recipe, SeedResult

_VARIANTS: Final = Path(__file__).with_suffix(".yaml")
_HEADER: Final = (
    "recipe",
    "validation accuracy",
    "validation loss",
    "test accuracy ± sd, for information",
    "s a seed",
)
Variants = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Line:
    """One recipe over the seeds.

    Attributes:
        name: of the recipe.
        validation: accuracy a seed.
        loss: of validation, nats, the mean over the seeds.
        test: accuracy a seed.
        seconds: of training and answering, the mean over the seeds.
        tier: of cost: 0 is a head on the image alone, 1 one on its mirror, too, 2 one on more
            augmentations, and 3 trains more than a head.
    """

    name: str
    validation: tuple[float, ...]
    loss: float
    test: tuple[float, ...]
    seconds: float
    tier: int = 0

    @property
    def score(self) -> tuple[float, float]:
        """Return what is compared first: mean accuracy, then minus the loss."""
        return statistics.fmean(self.validation), -self.loss

    def cells(self, best: str | None) -> list[str]:
        """Write the cells under _HEADER."""
        spread = f" ± {100 * statistics.stdev(self.test):.2f}" if len(self.test) > 1 else ""
        return [
            f"**{self.name}**" if self.name == best else self.name,
            f"{100 * self.score[0]:.2f} %",
            f"{self.loss:.4f}",
            f"{100 * statistics.fmean(self.test):.2f} %{spread}",
            f"{self.seconds:.1f}",
        ]


def read_variants(file: Path, only: Sequence[str]) -> Variants:
    """Read name -> backbone -> fields of TrainingParams.

    Args:
        file: YAML.
        only: names, or what stands before their slash; all where empty.

    Raises:
        InputError: no such file, not of that form, or nothing by a name.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"variants: {file} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"variants: {file} is no YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise InputError(f"variants: {file} must map names to backbones and those to fields.")
    for name in only:
        if not any(_is_of(variant, name) for variant in values):
            raise InputError(f"only: {name!r} is none of {', '.join(values)}.")
    return {v: b for v, b in values.items() if not only or any(_is_of(v, n) for n in only)}


def recipes_of(
    variants: Variants, file: Path | None, overrides: Mapping[str, Any]
) -> tuple[list[Recipe], dict[str, str]]:
    """List the variants' recipes, backbone by backbone.

    Args:
        variants: see `read_variants`; backbones that the configuration lacks are left out.
        file: the configuration that the variants differ from.
        overrides: fields that win over the file's.

    Returns:
        The recipes; and those that come to the same as an earlier one, such as where a
        variant spells out a default: name -> the earlier one's.

    Raises:
        InputError: a variant's field is wrong.
    """
    from pipeline.study.results import Recipe

    recipes: dict[tuple[str, TrainingParams], Recipe] = {}
    repeats = {}
    for backbone in load_config(file, overrides=overrides).backbones:
        for name, fields in variants.items():
            if backbone not in fields:
                continue
            changed = merge(overrides, {"training_overrides": {backbone: fields[backbone]}})
            try:
                params = load_config(file, overrides=changed).training_for(backbone)
            except InputError as error:
                raise InputError(f"variant {name}: {error}") from error
            recipe = Recipe(f"{backbone}/{name}", backbone, params)
            earlier = recipes.setdefault((backbone, params), recipe)
            if earlier is not recipe:
                repeats[recipe.name] = earlier.name
    return list(recipes.values()), repeats


def lines_of(results: Iterable[SeedResult], recipes: Iterable[Recipe]) -> dict[str, list[Line]]:
    """Collect each backbone's recipes over the seeds, in the order in which they come."""
    tiers = {r.name: _tier(r.params) for r in recipes}
    by_recipe: dict[tuple[str, str], list[SeedResult]] = {}
    for result in results:
        by_recipe.setdefault((result.backbone, result.recipe), []).append(result)
    lines: dict[str, list[Line]] = {}
    for (backbone, name), found in by_recipe.items():
        members = sorted(found, key=lambda result: result.seed)
        lines.setdefault(backbone, []).append(
            Line(
                name.removeprefix(f"{backbone}/"),
                tuple(m.validation["accuracy"] for m in members),
                statistics.fmean(m.validation["loss"] for m in members),
                tuple(m.correct / len(m.test.labels) for m in members),
                statistics.fmean(m.seconds for m in members),
                tiers[name],
            )
        )
    return lines


def decide(lines: Sequence[Line]) -> str | None:
    """Choose the recipe to take (see above); None of none.

    Args:
        lines: of one backbone, all over the same seeds.
    """
    best = None
    for tier in sorted({line.tier for line in lines}):
        rivals = sorted((line for line in lines if line.tier == tier), key=lambda line: line.name)
        rival = max(rivals, key=lambda line: line.score)
        if best is None or _is_clearly_better(rival, best):
            best = rival
    return best.name if best else None


def _tier(params: TrainingParams) -> int:
    if params.boundary != BOUNDARY_HEAD:
        return 3
    count = len(params.training_augmentations)
    return 0 if count == 1 else 1 if count <= len(IMAGE_AND_MIRROR) else 2


def _is_clearly_better(line: Line, cheaper: Line) -> bool:
    pairs = zip(line.validation, cheaper.validation, strict=True)
    gains = [own - other for own, other in pairs]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
    return statistics.fmean(gains) > error


def markdown(
    lines: Mapping[str, Sequence[Line]], seeds: Sequence[int], repeats: Mapping[str, str]
) -> str:
    """Write a table a backbone, the one to take in bold."""
    from pipeline.study.tables import github_table

    parts = [f"# Recipes, seeds {', '.join(map(str, seeds))}"]
    for backbone, members in lines.items():
        best = decide(members)
        parts.append(f"## {backbone}")
        parts.append(github_table(_HEADER, [line.cells(best) for line in members]))
    if repeats:
        parts.append("The same: " + "; ".join(f"{a} and {b}" for a, b in repeats.items()) + ".")
    return "\n\n".join(parts) + "\n"


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder of PNGs a class.")],
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder with pre-trained weights.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Features and results.")] = Path("output/recipes"),
    seeds: Annotated[int, typer.Option(help="How many.")] = 5,
    first_seed: Annotated[int, typer.Option(help="The others follow it.")] = 0,
    only: Annotated[str, typer.Option(help="Names or families, comma-separated.")] = "",
    backbones: Annotated[str, typer.Option(help="Comma-separated; all where empty.")] = "",
    variants: Annotated[Path, typer.Option(help="YAML file.")] = _VARIANTS,
    config: Annotated[Path | None, typer.Option(help="YAML file of the configuration.")] = None,
) -> None:
    """Run every recipe with every seed and show the means."""
    overrides: dict[str, Any] = {"data": {"dir": data}, "output": output}
    if weights_dir:
        overrides["weights_dir"] = weights_dir
    if backbones:
        overrides["backbones"] = _parts(backbones)
    settings = load_config(config, overrides=overrides)
    chosen = seeds_from(first_seed, seeds)
    with logs_to(output / "logs" / "recipes.log", verbose=False):
        recipes, repeats = recipes_of(read_variants(variants, _parts(only)), config, overrides)
        screen = StudyScreen(len(recipes) * len(chosen))
        with screen, open_experiment(settings, chosen, screen, every_tap=True) as opened:
            results = opened.experiment.run(recipes, chosen)
        table = markdown(lines_of(results, recipes), chosen, repeats)
    write_text(output / "recipes.md", table)
    typer.echo(table)


def _is_of(variant: str, name: str) -> bool:
    return name in (variant, variant.split("/")[0])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"recipes: {error}") from None
