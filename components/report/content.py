"""Everything that the report says, as numbers and words, before it is drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from components.evaluator.results import candidate_result, refusal
from components.report.answers import TestAnswers, read_answers
from components.report.comparison import against_paper, pairs
from components.report.data import data_figures
from components.report.drift import drift
from components.report.gallery import errors, examples_read_rightly
from components.report.images import ImageFacts, read_facts
from components.report.judgement import judge
from components.report.slices import confusion_of, largest_gap, slices
from components.report.sources import ModelSources, ReportSources
from components.report.words import percent
from components.versions import versions
from schema import contract


@dataclass(frozen=True)
class Content:
    """What the page is rendered from.

    Attributes:
        numbers: all figures; what JSON can hold.
        answers: model -> its answers to the test split.
        facts: of all images.
    """

    numbers: dict[str, Any]
    answers: dict[str, TestAnswers]
    facts: list[ImageFacts]

    @property
    def main(self) -> str:
        """The model that the page tells most of: the champion, else the most accurate."""
        champion: str | None = self.numbers["champion"]
        models = self.numbers["models"]
        return champion or max(models, key=lambda name: models[name]["accuracy"]["value"])


def gather(sources: ReportSources) -> Content:
    """Reads the artifacts and computes every figure.

    Args:
        sources: where they are.

    Raises:
        KeyError: an evaluation from before answers were kept.
        ValueError: TFMA counted otherwise than its own answers say, which must never be.
    """
    facts = read_facts(sources.examples)
    data = data_figures(sources.manifest, facts)
    classes = data["summary"]["classes"]
    answers = {model.name: read_answers(model.evaluation) for model in sources.models}
    models = {model.name: _model(model, answers[model.name], classes) for model in sources.models}
    numbers: dict[str, Any] = {
        "versions": versions(),
        "classes": classes,
        "seed": data["summary"]["seed"],
        "digest": data["summary"]["digest"],
        "champion": sources.champion,
        "models": models,
        "pairs": pairs(answers),
        "errors": errors(answers, facts, classes),
        "data": data,
        "drift": drift(sources.statistics, sources.schema, sources.previous_statistics),
        "span_drift": (
            _read_json(sources.span_drift, "drift.json") if sources.span_drift else None
        ),
        "audit": _read_json(sources.audit, "audit.json") if sources.audit else None,
    }
    content = Content(numbers, answers, facts)
    numbers["read_rightly"] = examples_read_rightly(
        answers[content.main], content.main, facts, classes
    )
    numbers["in_short"] = _in_short(content)
    return content


def _model(sources: ModelSources, answers: TestAnswers, classes: Sequence[str]) -> dict[str, Any]:
    result = candidate_result(sources.evaluation)
    figures = judge(answers, classes)
    overall = next(plots for key, plots in result.plots if not key)
    counted = confusion_of(overall, len(classes)).tolist()
    if counted != figures["confusion"]:
        raise ValueError(
            f"{sources.name}: TFMA counted {counted}, its answers say {figures['confusion']}; "
            "please report this as an error of cxr-tfx"
        )
    rows = slices(result, classes)
    accuracy = figures["accuracy"]
    validation = _read_json(sources.run, contract.VALIDATION_FILE)
    return figures | {
        "blessed": sources.blessed,
        "refused_because": refusal(sources.evaluation),
        "paper": against_paper(sources.name, accuracy["count"], accuracy["total"], classes),
        "slices": rows,
        "largest_gap": largest_gap(rows),
        "validation": {
            key: validation[key] for key in ("accuracy", "loss", "total", "temperature", "ece")
        },
        "abstain_threshold": validation["abstain"]["threshold"],
        "members": validation.get("members"),
        "history": _history(sources),
    }


def _history(sources: ModelSources) -> Mapping[str, list[float]] | None:
    """Metric -> value by epoch or iteration; a combination isn't trained."""
    if not tf.io.gfile.exists(os.path.join(sources.run, contract.HISTORY_FILE)):
        return None
    return _read_json(sources.run, contract.HISTORY_FILE)


def _in_short(content: Content) -> list[str]:
    """What a reader in a hurry should know, the most important first."""
    numbers, main = content.numbers, content.numbers["models"][content.main]
    accuracy = main["accuracy"]
    low, high = (percent(end) for end in accuracy["wilson95"])
    chosen = (
        f"The champion is {content.main}"
        if numbers["champion"]
        else f"No model passed the gate. The most accurate is {content.main}"
    )
    said = [
        f"{chosen}: {accuracy['count']} of {accuracy['total']} test images are right "
        f"({percent(accuracy['value'])}; with so many images, anything from {low} to {high} "
        "would be no surprise).",
        *_against_paper(numbers["models"]),
        *_against_each_other(numbers["pairs"]),
    ]
    if main["largest_gap"]:
        said.append(main["largest_gap"]["words"])
    if numbers["audit"]:
        said += numbers["audit"]["findings"]
    return [*said, "Not for diagnosis: accuracy on this test split is no estimate of clinical use."]


def _against_paper(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = {name: model["paper"] for name, model in models.items() if model["paper"]}
    if not known:
        return []
    different = [name for name, paper in known.items() if paper["significant"]]
    if not different:
        return [
            f"Beside the paper: no difference of {', '.join(known)} is more than chance would "
            "make it (Fisher's exact test, 5 %)."
        ]
    return [f"Beside the paper: {', '.join(different)} differ by more than chance would make it."]


def _against_each_other(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    different = [f"{pair['first']} and {pair['second']}" for pair in found if pair["significant"]]
    if not different:
        return [
            "No two models differ significantly on these images (McNemar's test, 5 %): which of "
            "them came out first is within chance."
        ]
    return [f"Significantly different on the same images (McNemar): {'; '.join(different)}."]


def _read_json(uri: str, name: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(uri, name)) as file:
        content: dict[str, Any] = json.load(file)
    return content
