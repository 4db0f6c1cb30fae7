"""Everything that the report says, as numbers and words, before it is drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from components.evaluator.results import (
    accuracy_interval,
    candidate_result,
    metrics_of,
    refusal,
)
from components.judged_on import fitted_to, judged_on
from components.report.answers import TestAnswers, read_answers
from components.report.comparison import against_baseline, against_paper, pairs
from components.report.data import data_figures
from components.report.drift import drift
from components.report.gallery import errors, examples_read_rightly
from components.report.images import ImageFacts, read_facts
from components.report.judgement import judge
from components.report.slices import confusion_of, largest_gap, slices
from components.report.sources import ModelSources, ReportSources
from components.report.table import table_section
from components.report.verdict import verdict
from components.versions import versions
from schema import contract


@dataclass(frozen=True)
class Content:
    """The content that the page is rendered from.

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
    """Read the artifacts and compute every figure.

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
        "span_drift": (read_json(sources.span_drift, "drift.json") if sources.span_drift else None),
        "audit": read_json(sources.audit, "audit.json") if sources.audit else None,
    }
    numbers["of_table"] = table_section(models, numbers["audit"])
    content = Content(numbers, answers, facts)
    numbers["read_rightly"] = examples_read_rightly(
        answers[content.main], content.main, facts, classes
    )
    numbers["verdict"] = verdict(content.main, numbers)
    return content


def _model(sources: ModelSources, answers: TestAnswers, classes: Sequence[str]) -> dict[str, Any]:
    result = candidate_result(sources.evaluation)
    figures = judge(answers, classes)
    # As in the gate: images of one patient are no independent witnesses.
    figures["accuracy"]["wilson95"] = accuracy_interval(metrics_of(result))
    overall = next(plots for key, plots in result.plots if not key)
    counted = confusion_of(overall, len(classes)).tolist()
    if counted != figures["confusion"]:
        raise ValueError(
            f"{sources.name}: TFMA counted {counted}, its answers say {figures['confusion']}; "
            "please report this as an error of cxr-tfx"
        )
    rows = slices(result, classes)
    accuracy = figures["accuracy"]
    validation = read_json(sources.run, contract.VALIDATION_FILE)
    return figures | {
        "blessed": sources.blessed,
        "refused_because": refusal(sources.evaluation),
        "baseline": against_baseline(accuracy, metrics_of(result)),
        "paper": against_paper(sources.name, accuracy["count"], accuracy["total"], classes),
        "slices": rows,
        "largest_gap": largest_gap(rows),
        "validation": {
            key: validation[key] for key in ("accuracy", "loss", "total", "temperature", "ece")
        }
        | {
            "folds": validation.get("folds", 0),
            "judged_on": judged_on(validation),
            "fitted_to": fitted_to(validation),
        },
        "abstain_threshold": validation["abstain"]["threshold"],
        "members": validation.get("members"),
        "table": validation.get("table"),
        "coefficients": validation.get("coefficients"),
        "parts": _if_there(sources.evaluation, contract.PARTS_FILE),
        "not_to_push": validation.get(contract.NOT_TO_PUSH),
        "input_gate": _if_there(sources.evaluation, contract.INPUT_GATE_FILE),
        "history": _history(sources),
    }


def _if_there(evaluation: str, name: str) -> dict[str, Any] | None:
    """Read what Evaluator handed on; None where the model has none of it."""
    if not tf.io.gfile.exists(os.path.join(evaluation, name)):
        return None
    return read_json(evaluation, name)


def _history(sources: ModelSources) -> Mapping[str, list[float]] | None:
    """Read each metric's values by epoch or iteration; a combination isn't trained."""
    if not tf.io.gfile.exists(os.path.join(sources.run, contract.HISTORY_FILE)):
        return None
    return read_json(sources.run, contract.HISTORY_FILE)


def read_json(uri: str, name: str) -> dict[str, Any]:
    """Read a file of an artifact."""
    with tf.io.gfile.GFile(os.path.join(uri, name)) as file:
        content: dict[str, Any] = json.load(file)
    return content
