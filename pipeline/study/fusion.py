"""The fused head in a study: from the features of all backbones, a seed at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.code_digest import code_digest
from models.augmentation_names import IDENTITY
from models.backbones import BOUNDARY_HEAD, build_network, get_backbone
from models.boundary import CutNetwork, cut
from models.fused_data import read_fused
from models.fusion import FusedNetwork, fit_fusion, recipe_of
from models.hyperparameters import TrainingParams
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.study.experiment import Experiment
from pipeline.study.features import ImageFeatures
from pipeline.study.networks import answer
from pipeline.study.results import Recipe, SeedResult
from schema import contract


def fused_parts(config: PipelineConfig) -> tuple[Recipe, ...]:
    """Say what of each backbone the fused head stands on; nothing where there is none.

    Args:
        config: of the study.

    Returns:
        Recipes that nobody trains: their features alone are asked for.
    """
    if contract.FUSION not in config.combined:
        return ()
    parts = []
    for name in config.backbones:
        row = get_backbone(name)
        params = TrainingParams.model_validate(
            {
                "boundary": BOUNDARY_HEAD,
                "scaling": config.training_for(name).scaling,
                "augmentations": [IDENTITY],
                "head": {"taps": tuple(row.fused_taps)},
            }
        )
        parts.append(Recipe(f"{contract.FUSION} of {name}", name, params.resolved(row)))
    return tuple(parts)


def run_fusion(
    config: PipelineConfig,
    experiment: Experiment,
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
) -> list[SeedResult]:
    """Compute or find the fused head's results; none where the configuration has no such head.

    Args:
        config: of the study.
        experiment: which splits the images and keeps features and results.
        recipes: the backbones' own, with whose features these lie.
        seeds: distinct.

    Raises:
        InputError: images or weights are at fault, or a class has images of one patient alone.
        FloatingPointError: a feature is no number, or overflowed.
    """
    parts = fused_parts(config)
    if not parts:
        return []
    recipe = recipe_of(config.backbones, config.fused_validation)
    depends_on = {"recipe": recipe, "code": code_digest(__name__)}
    files = {seed: experiment.file_of(contract.FUSION, parts, depends_on, seed) for seed in seeds}
    found = {seed: file.read() for seed, file in files.items()}
    missing = [seed for seed, result in found.items() if result is None]
    stores = experiment.stores(parts, recipes, missing)
    network = _shapes(experiment, parts) if missing else None
    results = []
    for seed in seeds:
        result = found[seed]
        if result is None:
            assert network is not None
            of_seed = {part.backbone: stores[part.backbone, seed] for part in parts}
            result = _result(config, experiment, network, of_seed, seed)
            experiment.keep(files[seed], result)
        experiment.listener.finished(result, computed=found[seed] is None)
        results.append(result)
    return results


def _shapes(experiment: Experiment, parts: Sequence[Recipe]) -> FusedNetwork:
    """Build the networks with random weights: shapes and costs alone are asked for."""

    def network(part: Recipe) -> CutNetwork:
        row = get_backbone(part.backbone)
        size = row.size_for(experiment.label(part.backbone))
        built = build_network(row, part.params.scaling, size)
        return cut(built, row, BOUNDARY_HEAD, tuple(row.fused_taps))

    return FusedNetwork({part.backbone: network(part) for part in parts})


def _result(
    config: PipelineConfig,
    experiment: Experiment,
    network: FusedNetwork,
    stores: Mapping[str, ImageFeatures],
    seed: int,
) -> SeedResult:
    started = time.monotonic()
    specs = {name: part.features for name, part in network.parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, dict[str, list[str]]] = {split: {} for split in contract.SPLITS}
        for name, store in stores.items():
            for split in contract.SPLITS:
                path = Path(folder, f"{name}-{split}.tfrecord")
                store.write_split(path, experiment.images(seed, split), (IDENTITY,))
                files[split][name] = [str(path)]
        trained = fit_fusion(
            network,
            experiment.task,
            read_fused(files[contract.SPLIT_TRAIN], specs),
            read_fused(files[contract.SPLIT_EVAL], specs),
            validation=config.fused_validation,
            seed=seed,
        )
        cost = trained.predictions.multiply_adds
        test = answer(trained.classifier, files[contract.SPLIT_TEST], multiply_adds=cost)
    return SeedResult(
        recipe=contract.FUSION,
        backbone=contract.FUSION,
        seed=seed,
        weights=", ".join(experiment.label(name) for name in stores),
        validation=trained.validation,
        eval=trained.predictions,
        test=test,
        seconds=time.monotonic() - started,
    )
