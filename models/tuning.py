"""Searches for a better recipe on cached features; `tuner_fn` is TFX Tuner's entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import keras
import keras_tuner
import tensorflow as tf
from absl import logging
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trial_module

from models.backbones import BOUNDARY_HEAD, Backbone, get_backbone
from models.boundary import CutNetwork, load_network
from models.hyperparameters import (
    CROSS,
    HOLDOUT,
    TrainingParams,
    apply_hyperparameters,
    taps_of_either_head,
)
from models.training import Task, fit_head, out_of_fold_loss, train, validation_loss
from models.training_data import ImageTaps, TapData, read_image_taps, read_taps

if TYPE_CHECKING:
    from tfx.v1.components import FnArgs, TunerFnResult

OBJECTIVE: Final = "validation_loss"
# Where only a head is fitted, and where pre-trained weights must survive.
_HEAD_RATES = (1e-4, 3e-2)
_BLOCK_RATES = (1e-6, 1e-3)
_L2 = (1e-5, 1.0)
_MAX_DROPOUT = 0.6
_WIDTHS = (64, 128, 256, 512, 1024)
_BATCH_SIZES = (16, 32, 64, 128)
# Recipes drawn at random before the Gaussian process has its say. KerasTuner's default,
# three a dimension, would leave it 9 of 30 trials.
_RANDOM_TRIALS = 10


def search_space(params: TrainingParams, boundaries: Sequence[str]) -> keras_tuner.HyperParameters:
    """Build the recipes that are tried; names are those of `apply_hyperparameters`.

    Where cross-validation judges, L-BFGS fits all of them, and the penalty alone has a say.
    The ranges are widened where the configuration's own recipe lies outside, which is the
    space's default. (But for an `l2` of nothing, which has no logarithm.)

    Args:
        params: the configuration's recipe, resolved.
        boundaries: those for which features are cached.

    Returns:
        The space; its values are the default.
    """
    space = keras_tuner.HyperParameters()
    head = params.head
    if params.validation == CROSS:
        _log_range(space, "head.l2", _L2, head.l2)
        return space
    own = params.boundary if params.boundary in boundaries else boundaries[0]
    space.Choice("boundary", list(boundaries), default=own)
    blocks = [boundary for boundary in boundaries if boundary != BOUNDARY_HEAD]
    both = len(blocks) not in (0, len(boundaries))
    for where, of_range, rates in (
        ("@head", [BOUNDARY_HEAD], _HEAD_RATES),
        ("@block", blocks, _BLOCK_RATES),
    ):
        if not set(of_range) & set(boundaries):
            continue
        rate = params.learning_rate if own in of_range else None
        # KerasTuner loses the value where one name has two ranges.
        with space.conditional_scope("boundary", of_range):
            _log_range(space, "learning_rate" + where * both, rates, rate)
    space.Choice("batch_size", _with(_BATCH_SIZES, params.batch_size), default=params.batch_size)
    space.Choice("head.kind", ["regularised", "paper"], default=head.kind)
    space.Float("head.dropout", 0.0, max(_MAX_DROPOUT, head.dropout), default=head.dropout)
    with space.conditional_scope("head.kind", ["regularised"]):
        _log_range(space, "head.l2", _L2, head.l2)
    with space.conditional_scope("head.kind", ["paper"]):
        space.Choice("head.width", _with(_WIDTHS, head.width), default=head.width)
    return space


def _with(choices: Sequence[int], own: int) -> list[int]:
    return sorted({*choices, own})


def _log_range(
    space: keras_tuner.HyperParameters, name: str, span: tuple[float, float], own: float | None
) -> None:
    low, high = span
    own = own or low
    space.Float(name, min(low, own), max(high, own), sampling="log", default=own)


class RecipeOracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """The choice of what to try next: the configured recipe, random ones, then the promising.

    A Gaussian process, since a search has few trials and each is cheap but not free.
    Hyperband would save epochs of hopeless trials, which early stopping does already.
    """

    def __init__(self, space: keras_tuner.HyperParameters, trials: int, seed: int) -> None:
        """Take the search space.

        Args:
            space: its values are tried first.
            trials: how many in all.
            seed: from 0 on.
        """
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "min"),
            max_trials=trials,
            num_initial_points=_RANDOM_TRIALS,
            # KerasTuner takes 0 for none and draws one.
            seed=seed + 1,
            hyperparameters=space,
            allow_new_entries=False,
            # A recipe that diverges says nothing about the next one.
            max_consecutive_failed_trials=trials + 1,
        )
        self.verbose = 0
        self._first = dict(space.values)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Choose a trial as KerasTuner does, except for the first one."""
        if not self.trials:
            return {"status": trial_module.TrialStatus.RUNNING, "values": dict(self._first)}
        proposal: dict[str, Any] = super().populate_space(trial_id)
        return proposal


@dataclass(frozen=True)
class Trials:
    """The trainings by recipes on the cached features of one backbone.

    Attributes:
        backbone: its table entry.
        params: the recipe of which fields are replaced, resolved.
        n_classes: number of classes.
        backbone_dir: holds the backbone's weights.
        train_files: patterns of the training features.
        eval_files: patterns of the validation features.
        seed: of everything random; the same as the Trainer's, which then finds what the
            best trial found.
    """

    backbone: Backbone
    params: TrainingParams
    n_classes: int
    backbone_dir: str
    train_files: Sequence[str]
    eval_files: Sequence[str]
    seed: int

    def loss(self, values: Mapping[str, Any]) -> float:
        """Return the calibrated cross-entropy where the recipe is judged, in nats.

        As in validation.json, so without the penalty on weights, which is in Keras'
        `val_loss` and would have every search end without one.

        Args:
            values: fields of TrainingParams, by dotted name.

        Raises:
            FloatingPointError: the training diverged.
        """
        params = apply_hyperparameters(self.params, values, self.backbone)
        keras.utils.set_random_seed(self.seed)
        if params.validation == CROSS:
            return out_of_fold_loss(params, self.n_classes, self._images, self.seed)
        if params.boundary == BOUNDARY_HEAD:
            assert params.head.taps is not None
            taps = self._pooled.select(params.head.taps)
            head, _ = fit_head(params, self.n_classes, taps, self.seed)
            return validation_loss(head, taps)
        trained = train(
            load_network(
                self.backbone.name,
                params.scaling,
                params.boundary,
                self.backbone_dir,
                params.head.taps,
            ),
            params,
            Task(self.n_classes),
            train_files=self.train_files,
            eval_files=self.eval_files,
            seed=self.seed,
        )
        return float(trained.validation["loss"])

    @cached_property
    def _images(self) -> ImageTaps:
        """The taps that the recipe's head stands on; read once for all trials."""
        files = [*self.train_files, *self.eval_files]
        return read_image_taps(self._frozen(self.params.head.taps), self.params, files)

    @cached_property
    def _pooled(self) -> TapData:
        """The taps that heads of either kind stand on; read once for all trials."""
        return read_taps(
            self._frozen(taps_of_either_head(self.params, self.backbone)),
            self.params,
            train_files=self.train_files,
            eval_files=self.eval_files,
            seed=self.seed,
        )

    def _frozen(self, taps: Sequence[str] | None) -> CutNetwork:
        return load_network(
            self.backbone.name, self.params.scaling, BOUNDARY_HEAD, self.backbone_dir, taps
        )


def first_recipe(params: TrainingParams, boundaries: Sequence[str]) -> TrainingParams:
    """Return the recipe from which a search starts.

    Losses are compared, so all recipes are judged by the same images: by the validation split,
    where a boundary is searched of which only Keras can train what lies behind.

    Args:
        params: the configuration's recipe, resolved.
        boundaries: that are searched.
    """
    if set(boundaries) == {BOUNDARY_HEAD}:
        return params
    return params.model_copy(update={"validation": HOLDOUT})


class RecipeTuner(base_tuner.BaseTuner):
    """KerasTuner's loop around one trial after the other."""

    def __init__(
        self, oracle: RecipeOracle, loss: Callable[[Mapping[str, Any]], float], directory: str
    ) -> None:
        """Join the parts.

        Args:
            oracle: says what to try.
            loss: tries it (see `Trials.loss`).
            directory: all that KerasTuner writes lies there.
        """
        self._loss = loss
        super().__init__(oracle, directory=directory, project_name="search")

    def run_trial(self, trial: trial_module.Trial) -> dict[str, float]:
        """Train by one recipe.

        Raises:
            keras_tuner.errors.FailedTrialError: the recipe diverges or doesn't fit the
                memory; the search goes on.
            keras_tuner.errors.FatalRuntimeError: anything else; it ends the search.
        """
        values = trial.hyperparameters.values
        try:
            loss = self._loss(values)
        except (FloatingPointError, tf.errors.ResourceExhaustedError) as error:
            logging.warning("Trial %s failed: %s %s", trial.trial_id, error, values)
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise keras_tuner.errors.FatalRuntimeError(f"trial {values}: {error}") from error
        logging.info("Trial %s: %s %.6f %s", trial.trial_id, OBJECTIVE, loss, values)
        return {OBJECTIVE: loss}

    def search_space_summary(self, extended: bool = False) -> None:
        """Log what TFX would have KerasTuner print between the lines of the nodes."""
        logging.info("Search space: %s", [hp.get_config() for hp in self.oracle.get_space().space])

    def results_summary(self, num_trials: int = 10) -> None:
        """Do nothing: each trial was logged, and TFX writes them all to the artifact."""

    def on_search_end(self) -> None:
        """Check that there is a result: KerasTuner would name a failed trial the best.

        Raises:
            RuntimeError: no trial came to an end.
        """
        trials = self.oracle.trials.values()
        if not any(t.status == trial_module.TrialStatus.COMPLETED for t in trials):
            last = list(trials)[-1].message.strip().splitlines()[-1]
            raise RuntimeError(f"tuning: all {len(trials)} trials failed, the last with: {last}")


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Build the search, as TFX Tuner's entry point.

    Args:
        fn_args: `custom_config` holds `backbone`, `n_classes`, `seed`, `training` (fields of
            TrainingParams), `boundaries` and `trials`; `base_model` is the folder with the
            backbone's weights.
    """
    from tfx.v1.components import TunerFnResult

    config = fn_args.custom_config
    backbone = get_backbone(config["backbone"])
    params = first_recipe(
        TrainingParams.model_validate(config["training"]).resolved(backbone), config["boundaries"]
    )
    trials = Trials(
        backbone,
        params,
        config["n_classes"],
        fn_args.base_model,
        tuple(fn_args.train_files),
        tuple(fn_args.eval_files),
        config["seed"],
    )
    space = search_space(params, config["boundaries"])
    oracle = RecipeOracle(space, config["trials"], config["seed"])
    return TunerFnResult(RecipeTuner(oracle, trials.loss, fn_args.working_dir), {})
