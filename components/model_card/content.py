"""The content of a model card, typed; gathered from what other nodes wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from components.evaluator.results import (
    SliceCount,
    abstaining,
    accuracy_interval,
    candidate_result,
    confidence_curve,
    confusion_matrix,
    gate_figures,
    metrics_of,
    refusal,
    slice_counts,
    slice_name,
)
from components.judged_on import fitted_to, judged_on
from components.model_card.input_gate import InputGate, read_input_gate
from components.model_card.share import Share
from schema import contract

NOTICE: Final = "Not for diagnosis."
# Whose values say which people the test split stands for.
_POPULATION: Final = (contract.VIEW, contract.SEX, contract.AGE_GROUP)


@dataclass(frozen=True)
class Origin:
    """The run that the model comes from.

    Attributes:
        name: of the model: a backbone's, or the combination's kind.
        classes: names in label order.
        seed: of the run.
        preset: of the run.
        versions: program -> version.
    """

    name: str
    classes: list[str]
    seed: int
    preset: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Evidence:
    """The findings of other nodes about the model.

    Attributes:
        weights: what a backbone started from; None for a combination.
        weights_sha256: of their file; None where they were drawn at random.
        image_size: height and width at which a backbone sees the image, pixels, as text.
        training: Trainer's training.json; None for a combination.
        validation: validation.json (`models.calibration.validation_report`).
        manifest: summary.json of the split manifest.
        evaluation_uri: of Evaluator's `evaluation`.
        thresholds: what the gate asks for, a field of the configuration's `gate` each.
        blessed: whether Evaluator blessed the model.
        served: whether it could be served; None where that wasn't tried.
    """

    weights: str | None
    weights_sha256: str | None
    image_size: str | None
    training: Mapping[str, Any] | None
    validation: Mapping[str, Any]
    manifest: Mapping[str, Any]
    evaluation_uri: str
    thresholds: Mapping[str, Any]
    blessed: bool
    served: bool | None


@dataclass(frozen=True)
class Recipe:
    """The origin of the model; either its own training, or members and how they are joined."""

    weights: str | None
    weights_sha256: str | None
    image_size: int | None
    training: dict[str, Any] | None
    members: list[str] | None
    cascade: dict[str, Any] | None
    temperature: float


@dataclass(frozen=True)
class ClassData:
    """One class's images: found, usable, in each split; of the latter, where they are from."""

    name: str
    found: int
    clean: int
    splits: dict[str, int]
    sources: dict[str, int]
    licences: dict[str, int]


@dataclass(frozen=True)
class Data:
    """The images, from the split manifest."""

    manifest_digest: str
    classes: list[ClassData]
    left_out: dict[str, int]
    duplicates_dropped: int
    patients: dict[str, int]
    images_without_patient: int
    patients_in_two_splits: int | None
    not_known: list[str]
    # Converter and decoder, with versions -> images; none where all were PNGs.
    conversions: dict[str, int]
    # Of DICOM: `dicom_window` and `dicom_percentile`; none where there was no DICOM.
    rendering: dict[str, float]


@dataclass(frozen=True)
class ClassResult:
    """One class against the rest, on the test split."""

    name: str
    sensitivity: Share
    specificity: Share
    precision: Share


@dataclass(frozen=True)
class Abstaining:
    """The behaviour of the model when it may decline to answer.

    Attributes:
        threshold: it abstains below this probability; chosen on `Results.judged_on`.
        target: the share of its answers there that was to be right.
        judged_at: the next threshold that TFMA counted at; None where nothing is answered.
        answered: of the test images, at `judged_at`.
        right: of those that are answered.
    """

    threshold: float
    target: float
    judged_at: float | None
    answered: Share
    right: Share


@dataclass(frozen=True)
class Slice:
    """The accuracy on a part of the test split."""

    feature: str
    value: str
    accuracy: Share


@dataclass(frozen=True)
class Results:
    """On the test split, but for `validation`; `confusion` has a row a true class.

    Attributes:
        fitted_to: the images that training saw, in words.
        judged_on: of which images `validation` is, by which temperature, thresholds and
            the champion were chosen, in words.
        input_gate: how it does; None where the model has none.
    """

    accuracy: Share
    classes: list[ClassResult]
    confusion: list[list[int]]
    abstaining: Abstaining
    slices: list[Slice]
    validation: Share
    fitted_to: str
    judged_on: str
    input_gate: InputGate | None


@dataclass(frozen=True)
class Gate:
    """The bounds, the figures found, and the verdict (see `components.evaluator.results`)."""

    blessed: bool
    refused_because: str | None
    served: bool | None
    thresholds: dict[str, Any]
    figures: dict[str, float]


@dataclass(frozen=True)
class Population:
    """The people on the test images: the values of one column, and how often it is silent."""

    feature: str
    values: list[str]
    unknown: int


@dataclass(frozen=True)
class BySource:
    """The degree to which an image's source gives its class away, counted over all splits.

    Attributes:
        right: images whose class is named by "the class that most images of the source have".
        chance: images whose class is named by always saying the largest class.
        total: images.
    """

    right: int
    chance: int
    total: int


@dataclass(frozen=True)
class Limits:
    """The limits of the results: what they can't vouch for; `by_source` is None without sources."""

    test_images: int
    populations: list[Population]
    by_source: BySource | None


@dataclass(frozen=True)
class TableFacts:
    """The columns that a model takes, and what they add to the image, out of fold.

    Attributes:
        columns: of the table.
        sentence: by how much the joint model beats the image; None for the table alone.
        few_patients: where they are few, a sentence that says so.
        models: image, table and joint -> log loss, and figures with intervals over patients.
        decision_curve: of the joint model (`models.by_patient.decision_curve`), by class.
        not_to_push: why the model is not pushed; None where nothing speaks against it.
    """

    columns: list[str]
    sentence: str | None
    few_patients: str | None
    models: dict[str, Any]
    decision_curve: dict[str, Any]
    not_to_push: str | None


@dataclass(frozen=True)
class Card:
    """All that the card says; model_card.json has these fields."""

    notice: str
    model: Origin
    recipe: Recipe
    data: Data
    results: Results
    gate: Gate
    limits: Limits
    table: TableFacts | None


def gather(origin: Origin, evidence: Evidence) -> Card:
    """Put the card together.

    Raises:
        KeyError: a file lacks a field: another version of this project wrote it.
    """
    validation = evidence.validation
    data = _data(evidence.manifest)
    results = _results(origin.classes, evidence)
    return Card(
        notice=NOTICE,
        model=origin,
        recipe=Recipe(
            weights=evidence.weights,
            weights_sha256=evidence.weights_sha256,
            image_size=int(evidence.image_size) if evidence.image_size else None,
            training=dict(evidence.training) if evidence.training else None,
            members=validation.get("members"),
            cascade=validation.get("cascade"),
            temperature=validation["temperature"],
        ),
        data=data,
        results=results,
        gate=Gate(
            blessed=evidence.blessed,
            refused_because=refusal(evidence.evaluation_uri),
            served=evidence.served,
            thresholds=dict(evidence.thresholds),
            figures=gate_figures(evidence.evaluation_uri),
        ),
        limits=Limits(
            test_images=results.accuracy.total,
            populations=_populations(results.slices),
            by_source=_by_source(data.classes),
        ),
        table=_table(validation),
    )


def class_results(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[ClassResult]:
    """Compute sensitivity, specificity and precision of each class against the rest.

    Args:
        classes: n names in label order.
        confusion: counts [n, n], rows true class, columns predicted class.

    Returns:
        TP/(TP+FN), TN/(TN+FP) and TP/(TP+FP), each with its interval.
    """
    total = sum(map(sum, confusion))
    found = []
    for index, name in enumerate(classes):
        hits = confusion[index][index]
        actual = sum(confusion[index])
        predicted = sum(row[index] for row in confusion)
        rest = total - actual
        false_alarms = predicted - hits
        found.append(
            ClassResult(
                name,
                sensitivity=Share.of(hits, actual),
                specificity=Share.of(rest - false_alarms, rest),
                precision=Share.of(hits, predicted),
            )
        )
    return found


def _table(validation: Mapping[str, Any]) -> TableFacts | None:
    """Read what TableTrainer found; None for any other model."""
    if "columns" not in validation:
        return None
    compared = validation.get("table", {})
    return TableFacts(
        columns=validation["columns"],
        sentence=compared.get("sentence"),
        few_patients=compared.get("few_patients"),
        models=compared.get("models", {}),
        decision_curve=compared.get("decision_curve", {}),
        not_to_push=validation.get(contract.NOT_TO_PUSH),
    )


def _data(manifest: Mapping[str, Any]) -> Data:
    # Manifests from before they were counted have no sources and licences.
    sources, licences = manifest.get("sources", {}), manifest.get("licences", {})
    return Data(
        manifest_digest=manifest["digest"],
        classes=[
            ClassData(
                name=name,
                found=manifest["images_found"][name],
                clean=manifest["images_clean"][name],
                splits={split: manifest["split_counts"][name][split] for split in contract.SPLITS},
                sources=sources.get(name, {}),
                licences=licences.get(name, {}),
            )
            for name in manifest["classes"]
        ],
        left_out=dict(sorted(manifest["left_out"].items())),
        duplicates_dropped=manifest["duplicates_dropped"],
        patients={split: manifest["patients"][split] for split in contract.SPLITS},
        images_without_patient=manifest["images_without_patient"],
        patients_in_two_splits=manifest["patients_in_two_splits"],
        # Manifests from before have none.
        not_known=[remark["sentence"] for remark in manifest.get("remarks", ())],
        conversions=manifest.get("conversions", {}),
        rendering=manifest.get("rendering", {}),
    )


def _results(classes: Sequence[str], evidence: Evidence) -> Results:
    uri, validation = evidence.evaluation_uri, evidence.validation
    confusion = confusion_matrix(uri, len(classes))
    return Results(
        accuracy=_accuracy(confusion, accuracy_interval(metrics_of(candidate_result(uri)))),
        classes=class_results(classes, confusion),
        confusion=confusion,
        abstaining=_abstaining(validation["abstain"], confidence_curve(uri)),
        slices=[_slice(item) for item in slice_counts(uri)],
        validation=_accuracy(validation["confusion"]),
        fitted_to=fitted_to(validation),
        judged_on=judged_on(validation),
        input_gate=read_input_gate(uri),
    )


def _accuracy(confusion: Sequence[Sequence[int]], interval: list[float] | None = None) -> Share:
    correct = sum(row[index] for index, row in enumerate(confusion))
    return Share.of(correct, sum(map(sum, confusion)), interval)


def _abstaining(chosen: Mapping[str, Any], curve: Sequence[tuple[float, int, int]]) -> Abstaining:
    judged = abstaining(chosen["threshold"], curve)
    at = {threshold: (answered, right) for threshold, answered, right in curve}
    judged_at = judged["judged_at"]
    answered, right = (0, 0) if judged_at is None else at[judged_at]
    return Abstaining(
        threshold=chosen["threshold"],
        target=chosen["target"],
        judged_at=judged_at,
        answered=Share.of(answered, curve[0][1]),
        right=Share.of(right, answered),
    )


def _slice(counted: SliceCount) -> Slice:
    accuracy = Share.of(counted.correct, counted.total, counted.wilson95)
    return Slice(slice_name(counted.feature), counted.value, accuracy)


def _populations(slices: Sequence[Slice]) -> list[Population]:
    found = []
    for name in map(slice_name, _POPULATION):
        images = {item.value: item.accuracy.total for item in slices if item.feature == name}
        unknown = images.pop(contract.UNKNOWN, 0)
        found.append(Population(name, list(images), unknown))
    return found


def _by_source(classes: Sequence[ClassData]) -> BySource | None:
    names = {source for one in classes for source in one.sources}
    if not names - {contract.UNKNOWN}:
        return None
    right = sum(max(one.sources.get(name, 0) for one in classes) for name in names)
    sizes = [sum(one.sources.values()) for one in classes]
    return BySource(right, max(sizes), sum(sizes))
