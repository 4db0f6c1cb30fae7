"""Counts what came of a study: everything that `study.json` holds."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from common.intervals import wilson95
from components.radiograph_example_gen.manifest import Summary
from models.backbones import BACKBONES, are_the_papers
from pipeline.check.images import ImagePool
from pipeline.study.outcomes import Outcome
from schema import contract

# Columns of metadata.csv that tell where errors sit. (A patient is no group.)
_SLICE_COLUMNS: Final = tuple(
    name for name in contract.METADATA_TEXT_COLUMNS if name != "patient_id"
)


def model_report(
    name: str, outcomes: Sequence[Outcome], pool: ImagePool, weights: str | None
) -> dict[str, Any]:
    """Compute all that is said of one model.

    Args:
        name: a backbone, `ensemble`, `cascade`, `fusion` or `champion`.
        outcomes: one a seed, at least one.
        pool: the images.
        weights: a backbone's, by their label.

    Returns:
        See docs/operations.md, "Study".
    """
    classes = pool.settings.class_names
    labels = np.concatenate([outcome.labels for outcome in outcomes])
    predicted = np.concatenate([outcome.predicted for outcome in outcomes])
    hashes = [sha256 for outcome in outcomes for sha256 in outcome.sha256]
    confusion = confusion_of(labels, predicted, len(classes))
    accuracies = [outcome.correct / len(outcome.labels) for outcome in outcomes]
    correct = int((labels == predicted).sum())
    report: dict[str, Any] = {
        "weights": weights,
        "mean": statistics.fmean(accuracies),
        "sd": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "correct": correct,
        "total": len(labels),
        "wilson95": wilson95(correct, len(labels)),
        "distinct": _distinct(hashes, labels == predicted),
        "confusion": confusion.tolist(),
        "per_seed": [_of_seed(outcome, len(classes)) for outcome in outcomes],
        "abstain": _abstaining(outcomes),
        "multiply_adds": statistics.fmean(outcome.multiply_adds for outcome in outcomes),
        "pairs": _pairs(confusion, classes),
        "slices": _slices(hashes, labels == predicted, pool),
        "errors": _errors(hashes, labels, predicted, pool),
        # Of other classes, the paper says nothing.
        "paper": _paper(name, classes) if are_the_papers(classes) else None,
    }
    if name == contract.CASCADE:
        report["passed_on"] = statistics.fmean(o.passed_on or 0.0 for o in outcomes)
    return report


def study_report(
    outcomes: Mapping[int, Mapping[str, Outcome]],
    splits: Sequence[Summary],
    pool: ImagePool,
    weights: Mapping[str, str],
) -> dict[str, Any]:
    """Compute the study's figures.

    Args:
        outcomes: seed -> model -> outcome.
        splits: RadiographExampleGen's summary for each seed.
        pool: the images.
        weights: backbone -> label of its weights.

    Returns:
        `seeds`, `data`, `models` and `champions` (seed -> model, null where none passed).
    """
    names = list(dict.fromkeys(name for models in outcomes.values() for name in models))
    # Behind the others, also where no model passed with the first seed.
    names.sort(key=lambda name: name == contract.CHAMPION)
    return {
        "seeds": list(outcomes),
        "data": _data(splits, pool),
        "models": {
            name: model_report(
                name,
                [models[name] for models in outcomes.values() if name in models],
                pool,
                weights.get(name),
            )
            for name in names
        },
        "champions": {
            str(seed): models[contract.CHAMPION].model if contract.CHAMPION in models else None
            for seed, models in outcomes.items()
        },
    }


def confusion_of(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count answers: int64 [n_classes, n_classes], rows true, columns predicted."""
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def _data(splits: Sequence[Summary], pool: ImagePool) -> dict[str, Any]:
    left_out = Counter(item.kind.value for item in pool.usable.left_out)
    return {
        "classes": list(pool.settings.class_names),
        "found": splits[0].images_found,
        "clean": splits[0].images_clean,
        "duplicates_dropped": splits[0].duplicates_dropped,
        "left_out": dict(left_out),
        "left_out_images": [
            asdict(item) | {"kind": item.kind.value} for item in pool.usable.left_out
        ],
        "splits": [
            {
                "seed": split.seed,
                "digest": split.digest,
                "counts": split.split_counts,
                "patients_in_two_splits": split.patients_in_two_splits,
                "deviations": list(split.deviations),
            }
            for split in splits
        ],
    }


def _of_seed(outcome: Outcome, n_classes: int) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "correct": outcome.correct,
        "total": len(outcome.labels),
        "wilson95": wilson95(outcome.correct, len(outcome.labels)),
        "confusion": confusion_of(outcome.labels, outcome.predicted, n_classes).tolist(),
        "validation_accuracy": outcome.validation["accuracy"],
        "validation_loss": outcome.validation["loss"],
        "abstain_threshold": outcome.validation["abstain"]["threshold"],
        **({"model": outcome.model} if outcome.model else {}),
        **(
            {"passed_on": outcome.passed_on, "cascade": outcome.validation["cascade"]}
            if outcome.passed_on is not None and "cascade" in outcome.validation
            else {}
        ),
    }


def _distinct(hashes: Sequence[str], right: np.ndarray) -> dict[str, Any]:
    """Count each image once, with the share of its tests that were right.

    The test splits of several seeds overlap, and an image that is hard once is hard again:
    pooled, they look like more images than there are.
    """
    tests: dict[str, list[bool]] = defaultdict(list)
    for sha256, good in zip(hashes, right.tolist(), strict=True):
        tests[sha256].append(good)
    accuracy = statistics.fmean(statistics.fmean(goods) for goods in tests.values())
    return {
        "images": len(tests),
        "accuracy": accuracy,
        "wilson95": wilson95(round(accuracy * len(tests)), len(tests)),
    }


def _abstaining(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Compute what the thresholds chosen on validation come to on test, all seeds together."""
    answered = right = total = 0
    for outcome in outcomes:
        threshold = outcome.validation["abstain"]["threshold"]
        sure = outcome.probabilities.max(axis=-1) >= threshold
        answered += int(sure.sum())
        right += int((sure & (outcome.predicted == outcome.labels)).sum())
        total += len(outcome.labels)
    return {
        "target": outcomes[0].validation["abstain"]["target"],
        "answered": answered,
        "correct": right,
        "coverage": answered / total,
        "accuracy": right / answered if answered else None,
        "wilson95": wilson95(right, answered) if answered else None,
    }


def _pairs(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Count which class is read as which other one, the most frequent first."""
    pairs = [
        {"true": classes[row], "predicted": classes[column], "count": int(confusion[row, column])}
        for row, column in zip(*np.nonzero(confusion), strict=True)
        if row != column
    ]
    return sorted(pairs, key=lambda pair: -int(str(pair["count"])))


def _slices(
    hashes: Sequence[str], right: np.ndarray, pool: ImagePool
) -> dict[str, dict[str, dict[str, int]]]:
    """Count `correct` of `total` for each value of a metadata column that says something."""
    slices: dict[str, dict[str, dict[str, int]]] = {}
    for column in _SLICE_COLUMNS:
        counts: dict[str, dict[str, int]] = {}
        for sha256, good in zip(hashes, right.tolist(), strict=True):
            row = pool.by_hash[sha256].row
            value = row.text.get(column, contract.UNKNOWN) if row else contract.UNKNOWN
            count = counts.setdefault(value, {"correct": 0, "total": 0})
            count["correct"] += good
            count["total"] += 1
        if set(counts) != {contract.UNKNOWN}:
            slices[column] = dict(sorted(counts.items()))
    return slices


def _errors(
    hashes: Sequence[str], labels: np.ndarray, predicted: np.ndarray, pool: ImagePool
) -> list[dict[str, Any]]:
    """List every image that was ever read wrongly, the most often first."""
    classes = pool.settings.class_names
    tested = Counter(hashes)
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    for sha256, label, answer in zip(hashes, labels.tolist(), predicted.tolist(), strict=True):
        if label != answer:
            wrong[sha256][classes[answer]] += 1
    errors = [
        {
            "path": pool.by_hash[sha256].inspection.path,
            "true": pool.by_hash[sha256].inspection.class_name,
            "predicted": dict(counts),
            "wrong": counts.total(),
            "tested": tested[sha256],
        }
        for sha256, counts in wrong.items()
    ]
    return sorted(errors, key=lambda e: (-e["wrong"], -e["wrong"] / e["tested"], e["path"]))


def _paper(name: str, classes: Sequence[str]) -> dict[str, Any] | None:
    result = BACKBONES[name].paper_result if name in BACKBONES else None
    if result is None:
        return None
    return {
        "correct": result.correct,
        "total": result.total,
        "accuracy": result.correct / result.total,
        "wilson95": wilson95(result.correct, result.total),
        "confusion": result.confusion_of(classes),
    }
