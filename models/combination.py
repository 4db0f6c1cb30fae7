"""Models put together from the backbones': all of them together, and a cascade.

A member's answer has two forms: `contract.FLAT`, one softmax over all classes, and, where
a class is healthy, `contract.HIERARCHICAL`: P(healthy), and P(sick) P(illness | sick) for
each illness. Both are probabilities of all classes, so "sick or healthy first, then which
illness" needs no second kind of output: the class with the highest product is the answer,
and what TFMA computes from the probabilities is what is served.

Members' answers become one by the mean of their log-probabilities, the logarithmic opinion pool
(Genest and Zidek, Combining Probability Distributions, Statistical Science 1986, section 3): who is
sure counts for more than in the mean of probabilities, and of log-odds the mean is just what their
explanations add up to.

Each rule exists twice: in NumPy, to be fitted to the members' answers on the validation
split, and in TensorFlow, to be served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from scipy.special import softmax

from models.calibration import (
    ABSTAIN_ALWAYS,
    TINY,
    apply_temperature,
    fit_temperature,
    round_between,
    validation_report,
)
from models.predictions import Predictions, aligned
from models.rule import Kind, Rule
from schema import contract

# Images [batch], transformed or as pixels -> head -> probabilities float32 [batch, n].
Member = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


class ExplainingMember(Protocol):
    """A member that can say what its answers stand on."""

    def __call__(self, images: tf.Tensor, /) -> Mapping[str, tf.Tensor]:
        """As `Member`."""

    def evidence(self, images: tf.Tensor, classes: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Say what speaks for classes, int32 [batch]: head -> float32 [batch, 256, 256]."""


@dataclass(frozen=True)
class Combination:
    """A rule, and how it does on the images that its members were judged by.

    Attributes:
        rule: fitted.
        predictions: the calibrated answers, as `contract.FLAT`; their cost is what an image
            costs on average.
        validation: what `models.calibration.validation_report` says of them, and `members`,
            `multiply_adds`, `folds`; of a cascade also `cascade`: `first` (the member that is asked
            first), `threshold` and `share_passed_on` (of the images, to all members).
    """

    rule: Rule
    predictions: Predictions
    validation: dict[str, Any]


def fit_combination(
    kind: Kind, runs: Mapping[str, Predictions], *, n_classes: int, abstain_accuracy: float
) -> Combination:
    """Fits a rule to the members' answers to the images that they were judged by.

    Args:
        kind: of rule.
        runs: member -> its calibrated answers; at least two members.
        n_classes: number of classes.
        abstain_accuracy: see `models.calibration.abstain_threshold`.

    Raises:
        ValueError: fewer than two members, or they didn't answer the same images.
    """
    if len(runs) < 2:
        raise ValueError(f"runs: {len(runs)} members; there is nothing to put together")
    # A cascade's first member is its cheapest; names settle ties, and the others' order.
    names = sorted(runs)
    if kind == contract.CASCADE:
        first = min(names, key=lambda name: (runs[name].multiply_adds, name))
        names = [first, *(name for name in names if name != first)]
    members = aligned([runs[name] for name in names])
    labels = members[0].labels
    answers = [member.probabilities for member in members]
    threshold = _cascade_threshold(answers, labels) if kind == contract.CASCADE else 0.0
    draft = Rule(kind, tuple(names), threshold, temperature=1.0)
    raw = combine(draft, answers)
    rule = Rule(kind, tuple(names), threshold, fit_temperature(raw, labels))
    calibrated = combine(rule, answers)
    costs = [member.multiply_adds for member in members]
    passed_on = float(is_passed_on(rule, answers).mean()) if kind == contract.CASCADE else 1.0
    expected_cost = round(costs[0] + passed_on * sum(costs[1:]))
    report = validation_report(
        calibrated,
        labels,
        n_classes=n_classes,
        temperature=rule.temperature,
        uncalibrated=raw,
        abstain_accuracy=abstain_accuracy,
    )
    # The image's answer is out of fold where each member's is.
    folds = min(member.folds for member in members)
    report |= {"members": sorted(names), "multiply_adds": expected_cost, "folds": folds}
    if kind == contract.CASCADE:
        report["cascade"] = {
            "first": names[0],
            "threshold": threshold,
            "share_passed_on": passed_on,
        }
    predictions = Predictions(
        members[0].sha256,
        labels,
        {contract.FLAT: calibrated},
        expected_cost,
        folds,
        {contract.FLAT: combine(rule, [member.of_finished_model for member in members])},
    )
    return Combination(rule, predictions, report)


def combine(rule: Rule, answers: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Apply a rule to answers that are all there.

    Args:
        rule: what to do.
        answers: of the members in the rule's order, head -> float [images, n].

    Returns:
        Calibrated probabilities, float64 [images, n].
    """
    if rule.kind == contract.ENSEMBLE:
        pooled = _pooled([answer[contract.FLAT] for answer in answers])
        return apply_temperature(pooled, rule.temperature)
    hierarchical = [stepwise(answer) for answer in answers]
    unsure = is_passed_on(rule, answers)[:, np.newaxis]
    chosen = np.where(unsure, _pooled(hierarchical), hierarchical[0])
    return apply_temperature(chosen, rule.temperature)


def _pooled(answers: Sequence[np.ndarray]) -> np.ndarray:
    """Exp of the mean of the logs, made to add up to 1: float64 [images, n]."""
    logs = [np.log(np.maximum(np.asarray(answer, np.float64), TINY)) for answer in answers]
    pooled: np.ndarray = softmax(np.mean(logs, axis=0), axis=-1)
    return pooled


def _pooled_tensors(answers: Sequence[tf.Tensor]) -> tf.Tensor:
    """`_pooled` in TensorFlow, float32 [batch, n]."""
    logs = [tf.math.log(tf.maximum(answer, TINY)) for answer in answers]
    return tf.nn.softmax(tf.add_n(logs) / len(logs))


def _mean(values: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(values) / len(values)


def stepwise(answer: Mapping[str, Any]) -> Any:
    """Choose as a cascade does: sick or healthy first, where the member knows how.

    Args:
        answer: head -> what it says.
    """
    return answer[contract.HIERARCHICAL if contract.HIERARCHICAL in answer else contract.FLAT]


def is_passed_on(rule: Rule, answers: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Say which images a cascade's first member is too unsure of.

    Args:
        rule: of a cascade.
        answers: as for `combine`.

    Returns:
        bool [images].
    """
    unsure: np.ndarray = stepwise(answers[0]).max(axis=-1) < rule.threshold
    return unsure


def _cascade_threshold(answers: Sequence[Mapping[str, np.ndarray]], labels: np.ndarray) -> float:
    """Find the smallest confidence of the first member that is as good as asking all.

    That is: the validation accuracy is not below that of asking all members about every
    image. 0, where the first member is as good by itself; above 1, where it is of no use.
    Between two images' confidences lie many numbers that do the same: of those the roundest
    is taken, as in `models.calibration.abstain_threshold`.
    """
    hierarchical = [stepwise(answer) for answer in answers]
    confidence = hierarchical[0].max(axis=-1)
    alone = hierarchical[0].argmax(axis=-1) == labels
    together = _pooled(hierarchical).argmax(axis=-1) == labels
    thresholds = np.unique(confidence)
    below = 0.0
    for index, threshold in enumerate(thresholds.tolist()):
        if np.where(confidence >= threshold, alone, together).sum() >= together.sum():
            return round_between(below, threshold) if index else 0.0
        below = threshold
    return ABSTAIN_ALWAYS


def combine_tensors(rule: Rule, members: Sequence[Member], images: tf.Tensor) -> tf.Tensor:
    """`combine` in TensorFlow, which asks members only what the rule needs to know.

    Args:
        rule: what to do.
        members: in the rule's order. Each has to cope with an empty batch, and at no cost,
            since the later members of a cascade get one when the first is sure.
        images: [batch], as the members take them.

    Returns:
        Calibrated probabilities, float32 [batch, n].
    """
    return answer_tensors(rule, members, images)[contract.FLAT]


def answer_tensors(
    rule: Rule, members: Sequence[Member], images: tf.Tensor
) -> dict[str, tf.Tensor]:
    """As `combine_tensors`, with the distance from the training images, where members know it.

    An image is too far only where each member that was asked finds so: of their distances the
    smallest counts (`models.input_gate`). So no more radiographs are kept out than by one of them.

    Args:
        rule: what to do.
        members: in the rule's order.
        images: [batch], as the members take them.

    Returns:
        `contract.FLAT`: calibrated probabilities, float32 [batch, n]; where all members have one,
        `contract.DISTANCE`: float32 [batch, 1].
    """
    answers, _ = _asked(rule, members, images)
    return answers


def nearest(distances: Sequence[np.ndarray]) -> np.ndarray:
    """Return the smallest of members' distances, as `answer_tensors` does; each [batch, 1]."""
    found: np.ndarray = np.min(np.stack(distances), axis=0)
    return found


def have_distances(answers: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all members' answers have a distance."""
    return all(contract.DISTANCE in answer for answer in answers)


def explain_tensors(
    rule: Rule, members: Sequence[ExplainingMember], images: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """`answer_tensors`, and what the members that were asked say for the answer.

    Members' evidence is in calibrated log-odds, of which the answer is the mean.

    Args:
        rule: what to do.
        members: in the rule's order.
        images: [batch], as the members take them.

    Returns:
        What `answer_tensors` does, and what speaks for the class of the highest probability
        (see `models.explanation.evidence`), float32 [batch, 256, 256].
    """
    answers, unsure = _asked(rule, members, images)
    classes = tf.argmax(answers[contract.FLAT], axis=-1, output_type=tf.int32)
    if rule.kind == contract.ENSEMBLE:
        parts = [member.evidence(images, classes)[contract.FLAT] for member in members]
        return answers, _mean(parts)
    first, *others = members
    alone = stepwise(first.evidence(images, classes))
    rows = tf.squeeze(unsure, axis=-1)
    asked, of_asked = tf.gather(images, rows), tf.gather(classes, rows)
    parts = [stepwise(member.evidence(asked, of_asked)) for member in others]
    return answers, _with_others(alone, unsure, parts, _mean)


def _asked(
    rule: Rule, members: Sequence[Member], images: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Answers, and which images all members were asked about, int64 [asked, 1]."""
    if rule.kind == contract.ENSEMBLE:
        answers = [member(images) for member in members]
        pooled = _pooled_tensors([answer[contract.FLAT] for answer in answers])
        found = {contract.FLAT: _calibrated(pooled, rule.temperature)}
        if have_distances(answers):
            found[contract.DISTANCE] = _nearest_tensors([a[contract.DISTANCE] for a in answers])
        return found, tf.range(tf.shape(images, tf.int64)[0])[:, tf.newaxis]
    first, *others = members
    answer = first(images)
    alone = stepwise(answer)
    unsure = tf.where(tf.reduce_max(alone, axis=-1) < rule.threshold)
    asked = tf.gather(images, tf.squeeze(unsure, axis=-1))
    further = [member(asked) for member in others]
    chosen = _with_others(alone, unsure, list(map(stepwise, further)), _pooled_tensors)
    found = {contract.FLAT: _calibrated(chosen, rule.temperature)}
    if have_distances([answer, *further]):
        found[contract.DISTANCE] = _with_others(
            answer[contract.DISTANCE],
            unsure,
            [each[contract.DISTANCE] for each in further],
            _nearest_tensors,
        )
    return found, unsure


def _nearest_tensors(distances: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_min(tf.stack(distances), axis=0)


def _with_others(
    alone: tf.Tensor,
    unsure: tf.Tensor,
    others: Sequence[tf.Tensor],
    together: Callable[[Sequence[tf.Tensor]], tf.Tensor],
) -> tf.Tensor:
    """Return the first member's values [batch, ...], or all members' where it is unsure.

    Args:
        alone: the first member's.
        unsure: where it is unsure, int64 [asked, 1].
        others: the other members' values, [asked, ...] each.
        together: makes one of them.
    """
    values = together([tf.gather(alone, tf.squeeze(unsure, axis=-1)), *others])
    return tf.tensor_scatter_nd_update(alone, unsure, values)


def combine_whole_batches(
    rule: Rule, members: Sequence[Member], pixels: tf.Tensor
) -> dict[str, tf.Tensor]:
    """`answer_tensors` for what runs batches of one: a batch is passed on whole, or not.

    No dimension depends on a value in it, which is what inference engines ask for.

    Args:
        rule: what to do.
        members: in the rule's order.
        pixels: grey levels, float32 [batch, 256, 256, 1].

    Returns:
        As `answer_tensors`.
    """
    if rule.kind == contract.ENSEMBLE:
        return answer_tensors(rule, members, pixels)
    first, *others = members
    answer = first(pixels)
    alone = stepwise(answer)
    sure = tf.reduce_max(alone, axis=-1, keepdims=True) >= rule.threshold
    distances = [answer[contract.DISTANCE]] if contract.DISTANCE in answer else []

    def together() -> list[tf.Tensor]:
        further = [member(pixels) for member in others]
        pooled = _pooled_tensors([alone, *map(stepwise, further)])
        chosen = [tf.where(sure, alone, pooled)]
        if distances and have_distances(further):
            near = _nearest_tensors([*distances, *(each[contract.DISTANCE] for each in further)])
            chosen.append(tf.where(sure, distances[0], near))
        return chosen

    found = tf.cond(tf.reduce_all(sure), lambda: [alone, *distances], together)
    answers = {contract.FLAT: _calibrated(found[0], rule.temperature)}
    return answers | ({contract.DISTANCE: found[1]} if distances else {})


def _calibrated(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    return tf.nn.softmax(tf.math.log(tf.maximum(probabilities, TINY)) / temperature)
