"""The sections of the page for whoever must file the model with an authority.

The order of the part on changes is that of the FDA's guidance on predetermined change control
plans: what may change, how a change is checked, what it may do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.words import counted, listed, number, percent, spread
from components.report.filing import (
    AUDIT,
    CARD,
    MANIFEST,
    REPORT,
    SETTINGS,
    Facts,
    Filing,
    Section,
    Statement,
    unknown,
)
from components.software import Package
from schema.class_tables import named

_BOUNDS: Final = {
    "min_accuracy": "it is right on at least {} of the test images",
    "against_baseline": "it is not worse than the version before it, on the same images",
    "min_wilson_lower": "the lower end of the accuracy's 95 % interval is at least {}",
    "baseline_significance": "it is not significantly worse than the version before it, at {}",
}


def filing_of(
    model: str,
    documents: Mapping[str, Mapping[str, Any] | None],
    packages: Sequence[Package],
) -> Filing:
    """Gather the page.

    Args:
        model: that it is about, the champion where there is one.
        documents: CARD (its model's), REPORT, AUDIT, MANIFEST, SETTINGS -> content; None where
            there is none.
        packages: that are installed.
    """
    facts = Facts(documents)
    sections = [
        Section("The model", list(_model(facts))),
        Section("Intended use", list(_use(facts))),
        Section("Results", list(_results(facts))),
        Section("Limits", list(_limits(facts))),
        Section("What may change by itself: the modifications", list(_changes(facts, model))),
        Section("What may change by itself: how a change is checked", list(_checks(facts))),
        Section("What may change by itself: its impact", [unknown("Benefits and risks")]),
        Section("Tests run", list(_tests(facts, model))),
        Section("What the audit found", list(_audit(facts))),
        Section("Images", list(_images(facts))),
        Section("Software", list(_software(facts))),
        Section("What no run knows", list(map(unknown, _NOT_OF_A_RUN))),
    ]
    return Filing(model, sections, packages)


_NOT_OF_A_RUN: Final = (
    "Manufacturer",
    "Risk management",
    "Clinical evaluation",
    "Usability",
    "Labelling",
    "Quality system",
)


def _model(facts: Facts) -> Iterator[Statement]:
    yield facts.say("Model", CARD, "model.name", lambda name: f"The model is {name}.")
    yield _line(facts, "Model")
    if facts.get(CARD, "recipe.members"):
        yield facts.say(
            "Members", CARD, "recipe.members", lambda names: f"It is made of {listed(names)}."
        )
    else:
        yield facts.say(
            "Weights", CARD, "recipe.weights", lambda weights: f"It started from {weights}."
        )
        yield facts.say(
            "Weights' digest",
            CARD,
            "recipe.weights_sha256",
            lambda digest: f"The file of these weights has the SHA-256 {digest}.",
        )
    yield facts.say(
        "Images' digest",
        MANIFEST,
        "digest",
        lambda digest: f"The images and their split have the digest {digest}.",
    )
    yield facts.say("Seed", MANIFEST, "seed", lambda seed: f"The split's seed is {seed}.")
    # Pusher runs beside Report.
    yield unknown("Number and signature of the pushed version")


def _use(facts: Facts) -> Iterator[Statement]:
    yield facts.say(
        "What it does",
        CARD,
        "model.classes",
        lambda classes: (
            f"It assigns a chest radiograph to one of {len(classes)} classes: {named(classes)}."
        ),
    )
    yield facts.say("Notice", CARD, "notice")
    for topic in ("Purpose in the manufacturer's words", "Users", "Patients", "Setting"):
        yield unknown(topic)


def _results(facts: Facts) -> Iterator[Statement]:
    yield facts.say(
        "Accuracy",
        CARD,
        "results.accuracy",
        lambda share: f"On the test split {_right(share)}.",
    )
    yield from facts.each("Class", CARD, "results.classes", _class)
    yield from facts.each(
        "Group",
        CARD,
        "results.slices",
        lambda part: f"{part['feature']} {part['value']}: {_right(part['accuracy'])}.",
    )
    for topic in ("Compared", "Worst group"):
        yield _line(facts, topic)


def _class(one: Mapping[str, Any]) -> str:
    return (
        f"{one['name']}: sensitivity {_share(one['sensitivity'])}, specificity "
        f"{_share(one['specificity'])}, precision {_share(one['precision'])}."
    )


def _limits(facts: Facts) -> Iterator[Statement]:
    yield _line(facts, "Limits")
    yield facts.say(
        "Test images",
        CARD,
        "limits.test_images",
        lambda count: f"All results on the test split are of {counted(count, 'image')}.",
    )
    yield from facts.each("People", CARD, "limits.populations", _people)
    yield facts.say(
        "Source",
        CARD,
        "limits.by_source",
        lambda found: (
            f"An image's source alone names the class of {found['right']} of "
            f"{found['total']} images; always naming the largest class, {found['chance']}."
        ),
    )
    yield facts.say(
        "Patients",
        MANIFEST,
        "images_without_patient",
        lambda count: f"Of {counted(count, 'image')} the patient is unknown.",
    )
    yield from facts.each(
        "Not known", MANIFEST, "remarks", lambda remark: f"{_capital(remark['sentence'])}."
    )


def _people(one: Mapping[str, Any]) -> str:
    values = listed(one["values"]) or "none"
    return (
        f"Of the test images, the column {one['feature']} has the values {values}; of "
        f"{one['unknown']} it is unknown."
    )


def _changes(facts: Facts, model: str) -> Iterator[Statement]:
    spans = facts.get(MANIFEST, "spans")
    words = (
        "The images came in no spans: a run trains on the folder that it is given."
        if spans is None
        else f"The images come in spans, and a run takes those that are due: "
        f"{sum(bool(span['taken']) for span in spans)} of {len(spans)} this time."
    )
    known = facts.get(MANIFEST, "digest") is not None
    yield (Statement("Spans", words, True, MANIFEST, "spans", spans) if known else unknown("Spans"))
    yield _continuing(facts, spans is not None)
    yield facts.say("Recipe", SETTINGS, "tuning.mode", _tuning)
    yield facts.say(
        "Calibration",
        CARD,
        "recipe.temperature",
        lambda value: (
            f"Each run calibrates the probabilities anew; this time with the temperature "
            f"{number(value)}."
        ),
    )
    yield facts.say(
        "Abstaining",
        CARD,
        "results.abstaining",
        lambda found: (
            f"Each run chooses anew below which probability the model abstains, so that "
            f"{percent(found['target'])} of its answers are right; this time it is "
            f"{number(found['threshold'])}."
        ),
    )
    yield facts.say(
        "Input gate",
        SETTINGS,
        "input_gate.false_alarms",
        lambda share: (
            f"Each run fits anew what is kept out as no radiograph of this kind, so that "
            f"{percent(share)} of the images like the training's are kept out by mistake."
        ),
    )
    yield facts.say("Champion", SETTINGS, "champion.prefer", _preferring)


def _continuing(facts: Facts, in_spans: bool) -> Statement:
    value = facts.get(SETTINGS, "continue_training")
    # Left to what the images come in, which is no value of its own.
    if value is None and facts.get(SETTINGS, "tuning.mode") is None:
        return unknown("Training")
    starts = in_spans if value is None else bool(value)
    words = (
        "Training starts from the last model that passed the gate on other images."
        if starts
        else "Training starts from the pre-trained weights each time."
    )
    return Statement("Training", words, True, SETTINGS, "continue_training", value)


def _tuning(mode: str) -> str:
    return {
        "search": "Each run searches for its recipe (learning rate and the like) anew.",
        "reuse": "The recipe is one that an earlier search found.",
    }.get(mode, "The recipe is the configuration's, and no run changes it.")


def _preferring(prefer: str) -> str:
    which = (
        "the cheapest within one standard error of the lowest log loss"
        if prefer == "cheap"
        else "the one with the lowest log loss"
    )
    return f"Each run chooses anew, among the models that pass the gate, {which}."


def _checks(facts: Facts) -> Iterator[Statement]:
    # What isn't asked for is said as well: a bound that nobody set checks nothing.
    yield from facts.each("Gate", CARD, "gate.thresholds", _bound)
    yield facts.say("Served", SETTINGS, "infra_validation.mode", _served_before)
    if facts.get(AUDIT, "limits") is None:
        yield unknown("Audit's limits")
    else:
        yield from facts.each("Audit's limits", AUDIT, "limits", _limit)


def _bound(given: tuple[str, Any]) -> str:
    name, value = given
    if value is None or value is False or value == []:
        return f"gate.{name} is not set: it stops no push."
    words = _BOUNDS.get(name)
    if words is None:
        return f"A new model is pushed only if it meets gate.{name}: {value}."
    return f"A new model is pushed only if {words.format(value)} (gate.{name})."


def _limit(given: tuple[str, Any]) -> str:
    name, value = given
    if value is None:
        return f"audit.{name} is not set: it stops no push."
    return f"Nothing is pushed where the audit finds more than {value} (audit.{name})."


def _served_before(mode: str) -> str:
    if mode == "off":
        return "It is not tried before the push whether a new model can be served."
    return f"A new model is pushed only if it could be served ({mode})."


def _tests(facts: Facts, model: str) -> Iterator[Statement]:
    yield facts.say(
        "Gate",
        CARD,
        "gate.blessed",
        lambda passed: f"The gate {'passed' if passed else 'refused'} this model.",
    )
    if facts.get(CARD, "gate.refused_because"):
        yield facts.say(
            "Gate", CARD, "gate.refused_because", lambda why: f"It was refused because {why}."
        )
    yield facts.say(
        "Served",
        CARD,
        "gate.served",
        lambda served: f"It could {'' if served else 'not '}be served before the push.",
    )
    yield facts.say(
        "Validation",
        CARD,
        "results.validation",
        lambda share: f"On {facts.get(CARD, 'results.judged_on')} {_right(share)}.",
    )
    yield facts.say(
        "Input gate",
        REPORT,
        f"models.{model}.input_gate.test",
        lambda found: (
            f"The input gate kept out {found['kept_out']} of {found['images']} test "
            "images by mistake."
        ),
    )
    yield facts.say(
        "Audit",
        AUDIT,
        "passed",
        lambda passed: f"The audit is {'within' if passed else 'beyond'} its limits.",
    )
    for topic in ("Tests of the software itself", "Tests with readers or patients"):
        yield unknown(topic)


def _audit(facts: Facts) -> Iterator[Statement]:
    yield from facts.each("Finding", AUDIT, "findings")


def _images(facts: Facts) -> Iterator[Statement]:
    yield from facts.each("Class", CARD, "data.classes", _images_of)
    yield from facts.each(
        "Left out",
        MANIFEST,
        "left_out",
        lambda given: f"{counted(given[1], 'file')} left out: {given[0]}.",
    )
    yield facts.say(
        "Patients in two splits",
        MANIFEST,
        "patients_in_two_splits",
        lambda count: f"{_capital(counted(count, 'patient'))} in two splits.",
    )


def _images_of(one: Mapping[str, Any]) -> str:
    def told(counts: Mapping[str, int]) -> str:
        return listed([f"{name} {count}" for name, count in counts.items()]) or "none known"

    return (
        f"{one['name']}: {one['found']} found, {one['clean']} usable; {told(one['splits'])}. "
        f"Sources: {told(one['sources'])}. Licences: {told(one['licences'])}."
    )


def _software(facts: Facts) -> Iterator[Statement]:
    yield from facts.each(
        "At the training",
        CARD,
        "model.versions",
        lambda given: f"{given[0]} {given[1]} made the model's card.",
    )


def _line(facts: Facts, about: str) -> Statement:
    """Repeat a line of the report's verdict."""
    lines = facts.get(REPORT, "verdict.lines") or []
    for index, line in enumerate(lines):
        if line["about"] == about:
            return facts.say(about, REPORT, f"verdict.lines.{index}.sentence")
    return unknown(about)


def _right(share: Mapping[str, Any]) -> str:
    return f"{share['count']} of {share['total']} images are right, {spread(share)}"


def _share(share: Mapping[str, Any]) -> str:
    return f"{share['count']} of {share['total']}, {spread(share)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
