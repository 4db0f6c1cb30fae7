"""Trains and answers: a recipe and a seed at a time, each result kept in a file."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import keras
import numpy as np
import tensorflow as tf

from common.code_digest import code_digest
from components.radiograph_example_gen.manifest import digest
from components.radiograph_example_gen.selection import Decision
from models import feature_records
from models.backbones import BOUNDARY_INPUT, get_backbone
from models.boundary import CutNetwork, load_network
from models.classifier import Classifier
from models.predictions import Predictions
from models.prefix import Job, Prefix
from models.pretrained import save_pretrained
from models.training import Task, train
from models.view_names import VIEW_IDENTITY
from models.weights import RANDOM, WeightsSource
from pipeline.check.images import ImagePool
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.resolve.engine import ResolvedEngine
from pipeline.study.features import FeatureStore, Labelled
from pipeline.study.files import digest_of
from pipeline.study.results import Recipe, ResultFile, SeedResult
from schema import contract

_FEATURES: Final = ("models.pretrained", "models.prefix", "pipeline.study.features")
# Test images through the suffix at once.
_TEST_BATCH = 16


class Listener(Protocol):
    """Is told how a study comes along."""

    def featurized(self, backbone: str, done: int, total: int) -> None:
        """Take note that some more images went through a frozen network."""

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        """Take note that a result is there, now or from before."""


@dataclass(frozen=True)
class _Shared:
    """Recipes whose features lie in one store, since they are cut at one place."""

    recipes: tuple[Recipe, ...]
    every_tap: bool

    @property
    def backbone(self) -> str:
        return self.recipes[0].backbone

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of any recipe, in network order."""
        used = {tap for recipe in self.recipes for tap in recipe.params.head.taps or ()}
        known = get_backbone(self.backbone).all_taps
        return tuple(tap for tap in known if self.every_tap or tap in used)


class Experiment:
    """An experiment that computes results, or finds them.

    Attributes:
        engine: what runs the frozen networks.
        listener: is told of progress.
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
            every_tap: store all taps of a backbone, so that further recipes find theirs. As
                a run does, the frozen network is otherwise cut behind the last one it needs.
        """
        classes = [entry.name for entry in config.data.classes]
        healthy = config.data.healthy_class
        self._classes = classes
        self._task = Task(
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

    def decision(self, seed: int) -> Decision:
        """Compute the split of a seed, once."""
        if seed not in self._decisions:
            self._decisions[seed] = self._pool.decision(seed)
        return self._decisions[seed]

    def run(self, recipes: Sequence[Recipe], seeds: Sequence[int]) -> list[SeedResult]:
        """Compute all results, recipe by recipe.

        Args:
            recipes: with distinct names.
            seeds: distinct.

        Raises:
            InputError: images or weights are at fault.
            FloatingPointError: a training diverged, or a feature overflowed.
        """
        found = {
            (recipe.name, seed): result
            for shared in _groups(recipes, self._every_tap)
            for recipe, seed, result in self._run_shared(shared, seeds)
        }
        return [found[recipe.name, seed] for recipe in recipes for seed in seeds]

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
        for identity, jobs in pending.items():
            for recipe, seed, result in self._compute(shared, identity, jobs):
                self.listener.finished(result, computed=True)
                yield recipe, seed, result

    def _identity(self, backbone: str, seed: int) -> str:
        """Identify weights and the size they see. A run's random weights are those of its seed."""
        source = self._weights[backbone]
        drawn_or_given = f"{RANDOM}-{seed}" if source.label == RANDOM else source.sha256
        return f"{drawn_or_given} at {get_backbone(backbone).size_for(source.label)}"

    def _compute(
        self, shared: _Shared, identity: str, jobs: Sequence[tuple[Recipe, int]]
    ) -> Iterator[tuple[Recipe, int, SeedResult]]:
        with tempfile.TemporaryDirectory() as folder:
            backbone_dir = f"{folder}/backbone"
            source = self._weights[shared.backbone]
            save_pretrained(
                shared.backbone,
                backbone_dir,
                seed=jobs[0][1],
                path=str(source.path) if source.path else None,
                sha256=source.sha256,
                label=source.label,
            )
            store = self._features(shared, identity, backbone_dir, jobs)
            networks = _Networks(backbone_dir)
            for recipe, seed in jobs:
                result = self._result(recipe, seed, store, networks, Path(folder))
                yield recipe, seed, result

    def _features(
        self, shared: _Shared, identity: str, backbone_dir: str, jobs: Sequence[tuple[Recipe, int]]
    ) -> FeatureStore:
        params = shared.recipes[0].params
        job = Job(
            shared.backbone,
            params.scaling,
            (params.boundary,),
            backbone_dir,
            shared.taps,
            self.engine.name,
        )
        key = {
            "weights": identity,
            "scaling": params.scaling,
            "boundary": params.boundary,
            "taps": list(shared.taps),
            "engine": [self.engine.name, self.engine.version],
            "bits_stored": self._pool.settings.limits.bits_stored,
            "code": code_digest(*_FEATURES),
        }
        store = FeatureStore(self._config.output / "features" / shared.backbone, key)
        needed = self._needed(jobs)
        total = sum(len(store.missing(images, view)) for view, images in needed.items())
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            self.listener.featurized(shared.backbone, done, total)

        data_dir = Path(self._pool.settings.data_dir)
        store.add(needed, data_dir, lambda: _load_prefix(job), progress)
        return store

    def _needed(self, jobs: Sequence[tuple[Recipe, int]]) -> dict[str, set[Labelled]]:
        """View -> images: every image as it is, those that are fitted in all views."""
        needed: dict[str, set[Labelled]] = {}
        for recipe, seed in jobs:
            for split in contract.SPLITS:
                for view in recipe.params.views_of(split):
                    needed.setdefault(view, set()).update(self._images(seed, split))
        return needed

    def _images(self, seed: int, split: str) -> list[Labelled]:
        groups = self.decision(seed).groups
        return [
            Labelled(
                image.inspection.sha256,
                image.inspection.class_name,
                self._pool.label(image),
                image.inspection.path,
                groups[image.inspection.sha256],
                image.inspection.bits_stored,
            )
            for image in self.decision(seed).chosen(split)
        ]

    def _result(
        self, recipe: Recipe, seed: int, store: FeatureStore, networks: _Networks, scratch: Path
    ) -> SeedResult:
        started = time.monotonic()
        files = {}
        for split in contract.SPLITS:
            files[split] = scratch / f"{split}.tfrecord"
            store.write_split(
                files[split], self._images(seed, split), recipe.params.views_of(split)
            )
        trained = train(
            networks.of(recipe),
            recipe.params,
            self._task,
            train_files=[str(files[contract.SPLIT_TRAIN])],
            eval_files=[str(files[contract.SPLIT_EVAL])],
            seed=seed,
        )
        test = answer(
            trained.classifier,
            [str(files[contract.SPLIT_TEST])],
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
        images = self._pool.by_hash
        paths = [images[sha256].inspection.path for sha256 in result.test.sha256]
        self._file(recipe, seed).write(result, paths)
        return result

    def _file(self, recipe: Recipe, seed: int) -> ResultFile:
        """Return the result's file; its key changes with all that the result depends on."""
        key = digest_of(
            {
                "backbone": recipe.backbone,
                "params": recipe.params.model_dump(mode="json"),
                "task": [self._classes, self._task.healthy, self._task.abstain_accuracy],
                "seed": seed,
                "split": digest(self.decision(seed).entries()),
                "weights": self._identity(recipe.backbone, seed),
                "engine": [self.engine.name, self.engine.version],
                "code": code_digest(__name__),
            }
        )
        folder = self._config.output / "results" / recipe.name
        return ResultFile(folder / f"seed-{seed}.json", key)


class _Networks:
    """Cut networks; one that doesn't train is good for all seeds of its recipe."""

    def __init__(self, backbone_dir: str) -> None:
        self._backbone_dir = backbone_dir
        self._kept: tuple[str, CutNetwork] | None = None

    def of(self, recipe: Recipe) -> CutNetwork:
        if self._kept is not None and self._kept[0] == recipe.name:
            return self._kept[1]
        self._kept = None
        # Keras keeps what it knows of networks that are used no more.
        keras.utils.clear_session()
        gc.collect()
        params = recipe.params
        network = load_network(
            recipe.backbone, params.scaling, params.boundary, self._backbone_dir, params.head.taps
        )
        if not network.suffix.trainable_variables:
            self._kept = recipe.name, network
        return network


def _load_prefix(job: Job) -> Prefix:
    """Load the prefix, run by the engine that the store's key names, and by no other.

    Featurizer goes on with another engine and says so in the lineage. Here, some images'
    features would come from one and others' from another.
    """
    prefix = Prefix(job)
    # At the input there is nothing to run.
    if prefix.engine != job.engine and job.boundaries != (BOUNDARY_INPUT,):
        raise RuntimeError(
            f"{job.engine} can't run {job.backbone}'s frozen network; start again, or give "
            "featurizer.engine: tensorflow in the configuration"
        )
    return prefix


def answer(classifier: Classifier, files: Sequence[str], *, multiply_adds: int) -> Predictions:
    """Answer images of which the features are known.

    Args:
        classifier: trained.
        files: patterns of the features.
        multiply_adds: what an answer costs.
    """
    identity = (VIEW_IDENTITY,)
    network = classifier.network
    labels: list[np.ndarray] = []
    answers: dict[str, list[np.ndarray]] = {name: [] for name in classifier.heads}
    for features, label in feature_records.read(
        files, network.features, batch_size=_TEST_BATCH, views=identity
    ):
        floats = {name: tf.cast(values, tf.float32) for name, values in features.items()}
        taps = network.suffix(floats, training=False)
        labels.append(label.numpy())
        for name, head in classifier.heads.items():
            answers[name].append(head(taps).numpy().astype(np.float64))
    return Predictions(
        feature_records.read_hashes(files, views=identity),
        np.concatenate(labels),
        {name: np.concatenate(parts) for name, parts in answers.items()},
        multiply_adds,
    )


def _groups(recipes: Sequence[Recipe], every_tap: bool) -> list[_Shared]:
    groups: dict[tuple[str, str | None, str], list[Recipe]] = {}
    for recipe in recipes:
        place = (recipe.backbone, recipe.params.scaling, recipe.params.boundary)
        groups.setdefault(place, []).append(recipe)
    return [_Shared(tuple(members), every_tap) for members in groups.values()]
