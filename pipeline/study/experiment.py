"""Trains and answers: a recipe and a seed at a time, each result kept in a file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from common.code_digest import code_digest
from common.digests import digest_of
from components.radiograph_example_gen.manifest import digest
from components.radiograph_example_gen.selection import Decision
from models.backbones import get_backbone
from models.feature_store import usage
from models.feature_store.store import place_of, point_to
from models.feature_store.stored_prefix import Source, StoredPrefix
from models.hyperparameters import taps_of_either_head
from models.prefix import Job
from models.pretrained import save_pretrained
from models.training import Task, train
from models.weights import RANDOM, WeightsSource
from pipeline.check.images import ImagePool
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.resolve.engine import ResolvedEngine
from pipeline.study.features import ImageFeatures, Labelled, Pixels
from pipeline.study.networks import Networks, answer, load_prefix
from pipeline.study.results import Recipe, ResultFile, SeedResult
from schema import contract


class Listener(Protocol):
    """Is told how a study comes along."""

    def featurized(self, backbone: str, done: int, total: int) -> None:
        """Take note that some more images went through a frozen network."""

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        """Take note that a result is there, now or from before."""


@dataclass(frozen=True)
class _Shared:
    """Recipes whose features lie in one store, since they are cut at one place.

    Attributes:
        recipes: that are run.
        beside: others, which are run elsewhere.
        every_tap: see `Experiment`.
    """

    recipes: tuple[Recipe, ...]
    beside: tuple[Recipe, ...]
    every_tap: bool

    @property
    def backbone(self) -> str:
        return self.recipes[0].backbone

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of any recipe, in network order; those of a run, so that both share features."""
        row = get_backbone(self.backbone)
        used: set[str] = set()
        for recipe in (*self.recipes, *self.beside):
            used |= {*(recipe.params.head.taps or ()), *taps_of_either_head(recipe.params, row)}
        return tuple(tap for tap in row.all_taps if self.every_tap or tap in used)


class Experiment:
    """An experiment that computes results, or finds them.

    Attributes:
        engine: what runs the frozen networks.
        listener: is told of progress.
        task: what is learnt.
    """

    def __init__(
        self,
        config: PipelineConfig,
        weights: Mapping[str, WeightsSource],
        engine: ResolvedEngine,
        pool: ImagePool,
        listener: Listener,
        *,
        every_tap: bool = False,
    ) -> None:
        """Keep what all results depend on.

        Args:
            config: data, classes, targets and output folder; its seed and recipes are not
                looked at.
            weights: backbone -> where its weights come from.
            engine: what runs the frozen networks.
            pool: the images.
            listener: is told of progress.
            every_tap: store all taps of a backbone, so that further recipes find theirs. Those
                that a run of the recipe stores, otherwise.
        """
        classes = [entry.name for entry in config.data.classes]
        healthy = config.data.healthy_class
        self._classes = classes
        self.task = Task(
            len(classes),
            None if healthy is None else classes.index(healthy),
            config.abstain_accuracy,
        )
        self._config = config
        self._weights = weights
        self.engine = engine
        self._pool = pool
        self.listener = listener
        self._every_tap = every_tap
        self._decisions: dict[int, Decision] = {}
        self._pixels = Pixels(Path(pool.settings.data_dir), pool.settings.limits.rendering)
        place = str(OutputLayout(config.output).features)
        point_to(place, config.featurizer.store)
        self._store = place_of(place)
        # Names of what the store has for this study.
        self._networks: set[str] = set()

    def decision(self, seed: int) -> Decision:
        """Compute the split of a seed, once."""
        if seed not in self._decisions:
            self._decisions[seed] = self._pool.decision(seed)
        return self._decisions[seed]

    def run(
        self, recipes: Sequence[Recipe], seeds: Sequence[int], beside: Sequence[Recipe] = ()
    ) -> list[SeedResult]:
        """Compute all results, recipe by recipe.

        Args:
            recipes: with distinct names.
            seeds: distinct.
            beside: whose features are to lie in the same stores, where they are cut at the same
                place: one pass through a network computes all (see `stores`).

        Raises:
            InputError: images or weights are at fault.
            FloatingPointError: a training diverged, or a feature overflowed.
        """
        found = {
            (recipe.name, seed): result
            for shared in _groups(recipes, beside, self._every_tap)
            for recipe, seed, result in self._run_shared(shared, seeds)
        }
        return [found[recipe.name, seed] for recipe in recipes for seed in seeds]

    def stores(
        self, recipes: Sequence[Recipe], beside: Sequence[Recipe], seeds: Sequence[int]
    ) -> dict[tuple[str, int], ImageFeatures]:
        """Features alone, of all images of some seeds, computed where they aren't there.

        Args:
            recipes: one a backbone.
            beside: as for `run`.
            seeds: distinct.

        Returns:
            Backbone and seed -> where its features are.

        Raises:
            InputError: images or weights are at fault.
            FloatingPointError: a feature overflowed.
        """
        found: dict[tuple[str, int], ImageFeatures] = {}
        for shared in _groups(recipes, beside, self._every_tap):
            jobs: dict[str, list[tuple[Recipe, int]]] = {}
            for seed in seeds:
                identity = self._identity(shared.backbone, seed)
                jobs.setdefault(identity, []).append((shared.recipes[0], seed))
            for of_identity in jobs.values():
                with tempfile.TemporaryDirectory() as folder:
                    store = self._features(shared, folder, of_identity)
                found |= {(shared.backbone, seed): store for _, seed in of_identity}
        return found

    def label(self, backbone: str) -> str:
        """Return where a backbone's weights come from."""
        return self._weights[backbone].label

    def _run_shared(
        self, shared: _Shared, seeds: Sequence[int]
    ) -> Iterator[tuple[Recipe, int, SeedResult]]:
        pending: dict[str, list[tuple[Recipe, int]]] = {}
        for recipe in shared.recipes:
            for seed in seeds:
                stored = self._file(recipe, seed).read()
                if stored is None:
                    identity = self._identity(shared.backbone, seed)
                    pending.setdefault(identity, []).append((recipe, seed))
                else:
                    self.listener.finished(stored, computed=False)
                    yield recipe, seed, stored
        for jobs in pending.values():
            for recipe, seed, result in self._compute(shared, jobs):
                self.listener.finished(result, computed=True)
                yield recipe, seed, result

    def _identity(self, backbone: str, seed: int) -> str:
        """Identify weights and the size they see. A run's random weights are those of its seed."""
        source = self._weights[backbone]
        drawn_or_given = f"{RANDOM}-{seed}" if source.label == RANDOM else source.sha256
        return f"{drawn_or_given} at {get_backbone(backbone).size_for(source.label)}"

    def _compute(
        self, shared: _Shared, jobs: Sequence[tuple[Recipe, int]]
    ) -> Iterator[tuple[Recipe, int, SeedResult]]:
        with tempfile.TemporaryDirectory() as folder:
            backbone_dir = self._pretrained(shared.backbone, jobs[0][1], folder)
            store = self._features(shared, folder, jobs)
            networks = Networks(backbone_dir)
            for recipe, seed in jobs:
                result = self._result(recipe, seed, store, networks, Path(folder))
                yield recipe, seed, result

    def _pretrained(self, backbone: str, seed: int, folder: str) -> str:
        """Return where the weights lie, below a folder; they are put there once."""
        backbone_dir = Path(folder, "backbone")
        source = self._weights[backbone]
        if not backbone_dir.exists():
            save_pretrained(
                backbone,
                str(backbone_dir),
                seed=seed,
                path=str(source.path) if source.path else None,
                sha256=source.sha256,
                label=source.label,
            )
        return str(backbone_dir)

    def _features(
        self, shared: _Shared, folder: str, jobs: Sequence[tuple[Recipe, int]]
    ) -> ImageFeatures:
        params = shared.recipes[0].params
        job = Job(
            shared.backbone,
            params.scaling,
            (params.boundary,),
            self._pretrained(shared.backbone, jobs[0][1], folder),
            shared.taps,
            self.engine.name,
        )
        source = Source(job, self._store, self.engine.version, whatever_engine=True)
        prefix = StoredPrefix(source, lambda: load_prefix(job))
        if prefix.network is not None:
            self._networks.add(prefix.network.name)
            usage.note(self._store, str(self._config.output), self._networks)
        features = ImageFeatures(prefix, self._pixels)
        features.add(
            self._needed(jobs),
            lambda done, total: self.listener.featurized(shared.backbone, done, total),
        )
        return features

    def _needed(self, jobs: Sequence[tuple[Recipe, int]]) -> dict[str, set[Labelled]]:
        """Augmentation -> images: every image as it is, those that are fitted in all of them."""
        needed: dict[str, set[Labelled]] = {}
        for recipe, seed in jobs:
            for split in contract.SPLITS:
                for augmentation in recipe.params.augmentations_of(split):
                    needed.setdefault(augmentation, set()).update(self.images(seed, split))
        return needed

    def images(self, seed: int, split: str) -> list[Labelled]:
        """List the images of one split of a seed."""
        groups = self.decision(seed).groups
        return [
            Labelled(
                image.inspection.sha256,
                image.inspection.class_name,
                self._pool.label(image),
                image.inspection.path,
                groups[image.inspection.sha256],
                image.inspection.bits_stored,
                image.inspection.file_sha256,
            )
            for image in self.decision(seed).chosen(split)
        ]

    def _result(
        self, recipe: Recipe, seed: int, store: ImageFeatures, networks: Networks, scratch: Path
    ) -> SeedResult:
        started = time.monotonic()
        files = {}
        for split in contract.SPLITS:
            files[split] = scratch / f"{split}.tfrecord"
            augmentations = recipe.params.augmentations_of(split)
            store.write_split(files[split], self.images(seed, split), augmentations)
        trained = train(
            networks.of(recipe),
            recipe.params,
            self.task,
            train_files=[str(files[contract.SPLIT_TRAIN])],
            eval_files=[str(files[contract.SPLIT_EVAL])],
            seed=seed,
        )
        test = answer(
            trained.classifier,
            {recipe.backbone: [str(files[contract.SPLIT_TEST])]},
            multiply_adds=trained.predictions.multiply_adds,
        )
        result = SeedResult(
            recipe=recipe.name,
            backbone=recipe.backbone,
            seed=seed,
            weights=self._weights[recipe.backbone].label,
            validation=trained.validation,
            eval=trained.predictions,
            test=test,
            seconds=time.monotonic() - started,
        )
        self.keep(self._file(recipe, seed), result)
        return result

    def keep(self, file: ResultFile, result: SeedResult) -> None:
        """Write a result, with the paths of its images."""
        images = self._pool.by_hash
        file.write(result, [images[sha256].inspection.path for sha256 in result.test.sha256])

    def _file(self, recipe: Recipe, seed: int) -> ResultFile:
        return self.file_of(recipe.name, (recipe,), {"code": code_digest(__name__)}, seed)

    def file_of(
        self, name: str, parts: Sequence[Recipe], depends_on: Mapping[str, Any], seed: int
    ) -> ResultFile:
        """Return where a result is; its key changes with all that the result depends on.

        Args:
            name: of the result's folder.
            parts: what it stands on: its own recipe, or several.
            depends_on: what else it depends on, in what JSON can hold.
            seed: of the result.
        """
        key = digest_of(
            {
                "backbones": [part.backbone for part in parts],
                "params": [part.params.model_dump(mode="json") for part in parts],
                "task": [self._classes, self.task.healthy, self.task.abstain_accuracy],
                "seed": seed,
                "split": digest(self.decision(seed).entries()),
                "weights": [self._identity(part.backbone, seed) for part in parts],
                "engine": [self.engine.name, self.engine.version],
                **depends_on,
            }
        )
        return ResultFile(self._config.output / "results" / name / f"seed-{seed}.json", key)


def _groups(recipes: Sequence[Recipe], beside: Sequence[Recipe], every_tap: bool) -> list[_Shared]:
    places = dict.fromkeys(map(_place, recipes))
    return [
        _Shared(
            tuple(recipe for recipe in recipes if _place(recipe) == place),
            tuple(recipe for recipe in beside if _place(recipe) == place),
            every_tap,
        )
        for place in places
    ]


def _place(recipe: Recipe) -> tuple[str, str | None, str]:
    """Return where its network is cut, and what goes into it."""
    return recipe.backbone, recipe.params.scaling, recipe.params.boundary
