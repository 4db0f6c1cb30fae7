"""Trains what lies behind the boundary, and calibrates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from models import convex, feature_records
from models.backbones import BOUNDARY_HEAD, BOUNDARY_INPUT
from models.boundary import Part, map_name
from models.calibration import (
    apply_temperature,
    fit_temperature,
    negative_log_likelihood,
    validation_report,
)
from models.classifier import CalibratedHead, Classifier, Network
from models.continuation import Start
from models.cross_validation import assign_folds, out_of_fold
from models.devices import keras_policy, plan_training
from models.fitting import History, fit, fit_on_taps, head_alone
from models.head_rows import Spans
from models.heads import apply_head, build_head, build_hierarchical_head
from models.hyperparameters import CROSS, TrainingParams
from models.input_gate_fitting import Facts, fit_held_out, fit_out_of_fold
from models.input_gate_tensors import GateTensors
from models.precision import in_precision
from models.predictions import Predictions
from models.random_augmentation import augment
from models.refit import Fitted, answers_of, refit
from models.training_data import (
    ImageTaps,
    TapData,
    TrainingData,
    read_data,
    read_image_taps,
    taps_of,
)
from schema import contract


@dataclass(frozen=True)
class Task:
    """The task that is to be learnt.

    Attributes:
        n_classes: number of classes.
        healthy: index of the healthy class; None where no class is.
        abstain_accuracy: the answers that the model gives, rather than to abstain, are to
            be right this often on the images that it is judged by.
        false_alarms: the share of radiographs that the input gate may keep out.
    """

    n_classes: int
    healthy: int | None = None
    abstain_accuracy: float = 0.99
    false_alarms: float = 0.01

    @property
    def hierarchical(self) -> bool:
        """True where "which illness?" is a question."""
        return self.healthy is not None and self.n_classes > 2


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training.

    Attributes:
        classifier: prefix, trained suffix, calibrated heads.
        history: metric name -> value per epoch or iteration, of the flat head.
        validation: what `models.calibration.validation_report` says of the flat head, its
            `multiply_adds`, `folds` (see `Predictions.folds`), and `input_gate` where there is one
            (`InputGate.facts`).
        predictions: by which it is judged: out of fold, or on the validation split.
    """

    classifier: Classifier
    history: History
    validation: dict[str, Any]
    predictions: Predictions


def train(
    network: Part,
    params: TrainingParams,
    task: Task,
    *,
    train_files: Sequence[str],
    eval_files: Sequence[str],
    seed: int,
    log_dir: str | None = None,
    start: Start | None = None,
) -> Trained:
    """Fits suffix and heads on cached features, and calibrates the heads.

    Which images they are fitted to and judged by, `params.validation` says.

    Args:
        network: the cut backbone with its pre-trained weights.
        params: recipe, resolved (see `TrainingParams.resolved`).
        task: what is to be learnt.
        train_files: patterns of the training features.
        eval_files: patterns of the validation features.
        seed: of initial weights, order, dropout and augmentation.
        log_dir: where TensorBoard logs go; none where None.
        start: weights to start with, in place of pre-trained and random ones.
    """
    keras.utils.set_random_seed(seed)
    if start:
        start.put_into_suffix(network)
    if params.validation == CROSS:
        files = [*train_files, *eval_files]
        fitted = _refitted(network, params, task, files, seed, log_dir, start)
    else:
        data = read_data(network, params, train_files, eval_files, seed)
        facts = [feature_records.read_gate_facts(each) for each in (train_files, eval_files)]
        fitted = _held_out(network, params, task, data, facts, seed, log_dir, start)
    return judge(network, fitted, task, network.multiply_adds)


def judge(network: Network, fitted: Fitted, task: Task, cost: int) -> Trained:
    """Calibrate heads by the answers that they are judged by, and say how good these are.

    Args:
        network: what computed their taps.
        fitted: the heads and the answers.
        task: what was to be learnt.
        cost: multiply-adds of the networks for one image.
    """
    temperatures = {name: fit_temperature(p, fitted.labels) for name, p in fitted.answers.items()}

    def calibrated(answers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: apply_temperature(p, temperatures[name]) for name, p in answers.items()}

    judged = calibrated(fitted.answers)
    report = validation_report(
        judged[contract.FLAT],
        fitted.labels,
        n_classes=task.n_classes,
        temperature=temperatures[contract.FLAT],
        uncalibrated=fitted.answers[contract.FLAT],
        abstain_accuracy=task.abstain_accuracy,
    )
    heads = {name: CalibratedHead(head, temperatures[name]) for name, head in fitted.heads.items()}
    further: dict[str, Any] = {"multiply_adds": cost, "folds": fitted.folds}
    if fitted.gate is not None:
        further[contract.INPUT_GATE] = dict(fitted.gate.facts)
    return Trained(
        Classifier(network, heads, GateTensors.of(fitted.gate)),
        fitted.history,
        report | further,
        Predictions(
            fitted.sha256, fitted.labels, judged, cost, fitted.folds, calibrated(fitted.own)
        ),
    )


def _held_out(
    network: Part,
    params: TrainingParams,
    task: Task,
    data: TrainingData,
    facts: Sequence[Facts],
    seed: int,
    log_dir: str | None,
    start: Start | None,
) -> Fitted:
    """Fits to the train split; the validation split says when to stop, and judges."""
    flat, history, taps = _fit_flat(network, params, task, data, seed, log_dir, start)
    heads = {contract.FLAT: flat}
    if task.hierarchical:
        heads[contract.HIERARCHICAL] = _fit_hierarchical(params, task, taps, seed, start)
    features, labels = taps.validation
    answers = {name: answers_of(head, features) for name, head in heads.items()}
    gate = fit_held_out(
        taps.training[0],
        facts[0],
        features,
        facts[1],
        data.hashes,
        network.pools,
        task.false_alarms,
    )
    return Fitted(heads, history, answers, labels, data.hashes, gate=gate)


def _refitted(
    network: Part,
    params: TrainingParams,
    task: Task,
    files: Sequence[str],
    seed: int,
    log_dir: str | None,
    start: Start | None,
) -> Fitted:
    """Fits to both splits; what the folds say judges. No fold may start from what saw it."""

    def fit_heads(taps: TapData, last: bool) -> tuple[dict[str, keras.Model], History]:
        begin, spans = start if last else None, Spans()
        flat, history = fit_head(params, task.n_classes, taps, seed, start=begin, spans=spans)
        heads = {contract.FLAT: flat}
        if task.hierarchical:
            heads[contract.HIERARCHICAL] = _fit_hierarchical(params, task, taps, seed, begin, spans)
        return heads, history

    images = read_image_taps(network, params, files)
    fitted = refit(images, seed, fit_heads)
    facts = feature_records.read_gate_facts(files)
    gate = fit_out_of_fold(images, facts, network.pools, task.false_alarms, seed)
    if log_dir is not None:
        convex.log(fitted.history, log_dir)
    return replace(fitted, gate=gate)


def blank_heads(network: Part, params: TrainingParams, task: Task) -> dict[str, keras.Model]:
    """Build the heads that `train` fits, in its order, with meaningless weights."""
    channels = {name: tensor.shape[-1] for name, tensor in network.suffix.output.items()}
    moments = {name: (np.zeros(size), np.ones(size)) for name, size in channels.items()}
    heads = {contract.FLAT: build_head(params.head, channels, task.n_classes, moments, 0)}
    if task.hierarchical:
        assert task.healthy is not None
        heads[contract.HIERARCHICAL] = build_hierarchical_head(
            params.head, channels, task.n_classes, task.healthy, moments, 0
        )
    return heads


def fit_head(
    params: TrainingParams,
    n_classes: int,
    taps: TapData,
    seed: int,
    log_dir: str | None = None,
    start: Start | None = None,
    spans: Spans | None = None,
) -> tuple[keras.Model, History]:
    """Fits the flat head in front of a network that doesn't train.

    Args:
        params: recipe, resolved.
        n_classes: number of classes.
        taps: those of the recipe, and no other.
        seed: of initial weights, order and dropout; L-BFGS asks for none of them.
        log_dir: where TensorBoard logs go; none where None.
        start: weights to start with, in place of random ones.
        spans: of these rows, where other heads are fitted to them too.

    Raises:
        FloatingPointError: the training diverged.
    """
    head = build_head(params.head, taps.channels(), n_classes, taps.moments(), seed)
    if start:
        start.put_into_head(contract.FLAT, head)
    history = fit_on_taps(
        head,
        taps.training,
        taps.validation,
        params,
        seed=seed,
        continued=start is not None,
        log_dir=log_dir,
        spans=spans,
    )
    return head, history


def validation_loss(head: keras.Model, taps: TapData) -> float:
    """Compute the cross-entropy of the calibrated answers on the validation split, in nats."""
    features, labels = taps.validation
    raw = answers_of(head, features)
    return negative_log_likelihood(apply_temperature(raw, fit_temperature(raw, labels)), labels)


def out_of_fold_loss(params: TrainingParams, n_classes: int, images: ImageTaps, seed: int) -> float:
    """Compute the cross-entropy of the flat head's calibrated answers out of fold, in nats.

    Args:
        params: recipe, resolved.
        n_classes: number of classes.
        images: taps of the recipe, and no other.
        seed: of the folds.

    Raises:
        FloatingPointError: a feature is no number.
    """

    def fit_and_answer(fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        taps = images.split(fitted, asked)
        head, _ = fit_head(params, n_classes, taps, seed)
        return {contract.FLAT: answers_of(head, taps.validation[0])}

    folds = assign_folds(images.labels, images.groups, seed)
    raw = out_of_fold(folds, fit_and_answer)[contract.FLAT]
    temperature = fit_temperature(raw, images.labels)
    return negative_log_likelihood(apply_temperature(raw, temperature), images.labels)


def _fit_flat(
    network: Part,
    params: TrainingParams,
    task: Task,
    data: TrainingData,
    seed: int,
    log_dir: str | None,
    start: Start | None,
) -> tuple[keras.Model, History, TapData]:
    """Fit the head; return it, its history, and the taps of the network as it is now."""
    if not network.suffix.trainable_variables:
        taps = taps_of(network, data)
        return *fit_head(params, task.n_classes, taps, seed, log_dir, start), taps
    head = _head_to_train(network, params, task, data, seed, start)
    history = _fit_both(network, head, params, data, seed, log_dir)
    return head, history, taps_of(network, data)


def _head_to_train(
    network: Part,
    params: TrainingParams,
    task: Task,
    data: TrainingData,
    seed: int,
    start: Start | None,
) -> keras.Model:
    """Build the flat head with which a suffix starts to train."""
    if params.head.kind == "paper":
        # It knows no moments, so the network needn't run before its training.
        channels = {name: tensor.shape[-1] for name, tensor in network.suffix.output.items()}
        head = build_head(params.head, channels, task.n_classes, {}, seed)
    else:
        taps = taps_of(network, data)
        head = build_head(params.head, taps.channels(), task.n_classes, taps.moments(), seed)
        if params.warm_start and start is None:
            fit_on_taps(head, taps.training, taps.validation, head_alone(params), seed=seed)
    if start:
        start.put_into_head(contract.FLAT, head)
    return head


def _fit_both(
    network: Part,
    head: keras.Model,
    params: TrainingParams,
    data: TrainingData,
    seed: int,
    log_dir: str | None,
) -> History:
    """Suffix and head together, in the device's precision; the suffix itself stays float32."""
    plan = plan_training(network.backbone, params.precision)
    same = plan.policy == "float32"
    suffix = network.suffix if same else in_precision(network.suffix, plan.policy)
    with keras_policy(plan):
        model = _trainable_model(network, suffix, head, params, seed)
    history = fit(model, data.training, data.validation, params, log_dir)
    if not same:
        network.suffix.set_weights(suffix.get_weights())
    return history


def _fit_hierarchical(
    params: TrainingParams,
    task: Task,
    taps: TapData,
    seed: int,
    start: Start | None,
    spans: Spans | None = None,
) -> keras.Model:
    assert task.healthy is not None
    head = build_hierarchical_head(
        params.head, taps.channels(), task.n_classes, task.healthy, taps.moments(), seed
    )
    if start:
        start.put_into_head(contract.HIERARCHICAL, head)
    frozen = params.boundary == BOUNDARY_HEAD and params.head.kind == "regularised"
    recipe = params if frozen else head_alone(params)
    fit_on_taps(
        head,
        taps.training,
        taps.validation,
        recipe,
        seed=seed,
        healthy=task.healthy,
        continued=start is not None,
        spans=spans,
    )
    return head


def _trainable_model(
    network: Part,
    suffix: keras.Model,
    head: keras.Model,
    params: TrainingParams,
    seed: int,
) -> keras.Model:
    inputs = {
        name: keras.Input(spec.shape, dtype=spec.dtype, name=name)
        for name, spec in network.features.items()
    }
    features = {name: keras.ops.cast(tensor, "float32") for name, tensor in inputs.items()}
    if params.random_augmentation is not None:
        image = map_name(BOUNDARY_INPUT)
        features[image] = augment(features[image], params.random_augmentation, seed)
    return keras.Model(inputs, apply_head(head, suffix(features)))
