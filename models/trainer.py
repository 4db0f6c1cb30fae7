"""`run_fn`, TFX Trainer's entry point: features in, SavedModel and its record out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from absl import logging

from models import evaluation_model
from models.backbones import get_backbone
from models.boundary import CutNetwork, load_network
from models.classifier import BackboneModel
from models.continuation import (
    NotContinuableError,
    Start,
    read_earlier,
    start_from,
)
from models.evaluation_model import HeadsOfClassifier
from models.hyperparameters import TrainingParams, apply_hyperparameters
from models.lent_network import load_part
from models.model_run import write_json, write_model_run
from models.signatures import export, load_transform
from models.stored_backbone import features_digest
from models.training import Task, blank_heads, train
from schema import contract

# Of `custom_config`: where the earlier model lies.
PREVIOUS: Final = "previous"

if TYPE_CHECKING:
    from tfx.components import FnArgs


def run_fn(fn_args: FnArgs) -> None:
    """TFX Trainer's entry point.

    Args:
        fn_args: `custom_config` holds `backbone`, `classes`, `healthy` (a class name or
            None), `abstain_accuracy`, `false_alarms` (see `Task`), `seed`, `training` (fields of
            TrainingParams) and `features` (a digest of all but the weights that the features
            depend on); `base_model` is the folder with the backbone's weights;
            `hyperparameters`, where there is a Tuner's result, hold values that replace those of
            `training`.
            `custom_config` may also hold PREVIOUS: `model` and `run`, the folders of an
            earlier SavedModel and of its `model_run`, from which training starts if they fit.
    """
    config = fn_args.custom_config
    classes = config["classes"]
    healthy = config["healthy"]
    tuned = (fn_args.hyperparameters or {}).get("values", {})
    params = apply_hyperparameters(
        TrainingParams.model_validate(config["training"]), tuned, get_backbone(config["backbone"])
    )
    cut_at = (
        config["backbone"], params.scaling, params.boundary, fn_args.base_model, params.head.taps
    )  # fmt: skip
    # Going on from an earlier model takes a look at the network's weights.
    whole = load_network(*cut_at) if config.get(PREVIOUS) else None
    network = whole or load_part(*cut_at)
    task = Task(
        len(classes),
        None if healthy is None else classes.index(healthy),
        config["abstain_accuracy"],
        config.get("false_alarms", Task.false_alarms),
    )
    trained = train(
        network,
        params,
        task,
        train_files=fn_args.train_files,
        eval_files=fn_args.eval_files,
        seed=config["seed"],
        log_dir=fn_args.model_run_dir,
        start=_start(fn_args, whole, params, task) if whole else None,
    )
    write_model_run(fn_args.model_run_dir, trained, params.model_dump(mode="json"))
    transform = load_transform(fn_args.transform_output)
    abstain_below = trained.validation["abstain"]["threshold"]
    served = BackboneModel(transform, trained.classifier, classes, abstain_below)
    export(served, fn_args.serving_model_dir)
    digest = features_digest(config["features"], fn_args.base_model)
    heads = HeadsOfClassifier(trained.classifier, {config["backbone"]: digest})
    evaluation_model.write(heads, fn_args.eval_model_dir)


def _start(
    fn_args: FnArgs, network: CutNetwork, params: TrainingParams, task: Task
) -> Start | None:
    """Take the earlier model's weights, where it fits; note which, and why."""
    previous = fn_args.custom_config[PREVIOUS]
    start, why_not = None, None
    try:
        start = start_from(
            read_earlier(previous["model"], previous["run"]),
            network,
            blank_heads(network, params, task),
            params,
            fn_args.custom_config["classes"],
        )
    except NotContinuableError as reason:
        why_not = str(reason)
        logging.warning(
            "Training starts anew and not from %s, because %s.", previous["model"], reason
        )
    note = {"model": previous["model"], "continued": start is not None, "why_not": why_not}
    write_json(fn_args.model_run_dir, contract.CONTINUED_FILE, note)
    return start
