"""The judgement of a model's answers to the test split.

Everything here comes from the answers alone, by scikit-learn where it has a function for it.
What can't be told (the recall of a class without images) is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn import metrics

from common.intervals import wilson95
from components.report.answers import TestAnswers
from models.calibration import expected_calibration_error, negative_log_likelihood
from schema.class_tables import MOST_COLUMNS

# Of the reliability diagram; `expected_calibration_error` uses the same.
CALIBRATION_BINS: Final = 15


def share(count: int, total: int) -> dict[str, Any]:
    """Return a share with its 95 % Wilson interval.

    Returns:
        `count`, `total`, and `value` and `wilson95`, which are None where the total is 0.
    """
    return {
        "count": count,
        "total": total,
        "value": count / total if total else None,
        "wilson95": wilson95(count, total) if total else None,
    }


def judge(answers: TestAnswers, classes: Sequence[str]) -> dict[str, Any]:
    """Compute all figures of one model.

    Args:
        answers: of the whole test split.
        classes: names in label order.

    Returns:
        What JSON can hold: `accuracy` (see `share`), `loss` (cross-entropy, nats),
        `confusion` (rows true, columns predicted), `classes` (name -> see `_one_class`),
        `calibration` and `coverage`.
    """
    indices = list(range(len(classes)))
    confusion = metrics.confusion_matrix(answers.labels, answers.predicted, labels=indices)
    return {
        "accuracy": share(int(answers.right.sum()), len(answers.labels)),
        "loss": negative_log_likelihood(answers.probabilities, answers.labels),
        "confusion": confusion.tolist(),
        "classes": {
            name: _one_class(confusion, index)
            | _curves(answers, index, corners=len(classes) > MOST_COLUMNS)
            for index, name in enumerate(classes)
        },
        "calibration": _calibration(answers),
        "coverage": _coverage(answers),
    }


def rates(confusion: np.ndarray, index: int) -> dict[str, Any]:
    """Compute how often one class is missed, and how often it is said of others.

    Args:
        confusion: int [n, n], rows true, columns predicted.
        index: of the class.

    Returns:
        `false_negative_rate` and `false_positive_rate`, each a `share`.
    """
    hit = int(confusion[index, index])
    positives, said = int(confusion[index].sum()), int(confusion[:, index].sum())
    return {
        "false_negative_rate": share(positives - hit, positives),
        "false_positive_rate": share(said - hit, int(confusion.sum()) - positives),
    }


def _one_class(confusion: np.ndarray, index: int) -> dict[str, Any]:
    """Compute `precision` and `recall` (shares), `f1`, and both `rates`."""
    hit = int(confusion[index, index])
    positives, said = int(confusion[index].sum()), int(confusion[:, index].sum())
    return {
        "precision": share(hit, said),
        "recall": share(hit, positives),
        "f1": 2 * hit / (positives + said) if positives + said else None,
        **rates(confusion, index),
    }


def _curves(answers: TestAnswers, index: int, *, corners: bool) -> dict[str, Any]:
    """Compute the curves of one class against the rest.

    Args:
        answers: of the whole test split.
        index: of the class.
        corners: only the points where a curve bends, which draw the same: classes times images
            are too many to keep.

    Returns:
        `roc` (`false_positive_rate`, `true_positive_rate`) and `auc`, `pr` (`recall`,
        `precision`) and `average_precision`; None where all images or none are of the class.
    """
    positive, score = answers.labels == index, answers.probabilities[:, index]
    if positive.all() or not positive.any():
        return {"roc": None, "auc": None, "pr": None, "average_precision": None}
    false_positive, true_positive, _ = metrics.roc_curve(positive, score, drop_intermediate=corners)
    precision, recall, _ = metrics.precision_recall_curve(
        positive, score, drop_intermediate=corners
    )
    return {
        "roc": {
            "false_positive_rate": false_positive.tolist(),
            "true_positive_rate": true_positive.tolist(),
        },
        "auc": float(metrics.roc_auc_score(positive, score)),
        "pr": {"recall": recall.tolist(), "precision": precision.tolist()},
        "average_precision": float(metrics.average_precision_score(positive, score)),
    }


def _calibration(answers: TestAnswers) -> dict[str, Any]:
    """Compute `ece`, and `bins`: those of the confidence's that hold images.

    Returns:
        Of each bin: `from` and `to`, mean `confidence`, and `accuracy` (a `share`).
    """
    confidence = answers.probabilities.max(axis=1)
    # As in `expected_calibration_error`: a bin holds its upper end.
    of_image = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, None)
    bins = [
        {
            "from": index / CALIBRATION_BINS,
            "to": (index + 1) / CALIBRATION_BINS,
            "confidence": float(confidence[of_image == index].mean()),
            "accuracy": share(
                int(answers.right[of_image == index].sum()), int((of_image == index).sum())
            ),
        }
        for index in np.unique(of_image).tolist()
    ]
    ece = expected_calibration_error(answers.probabilities, answers.labels, CALIBRATION_BINS)
    return {"ece": ece, "bins": bins}


def _coverage(answers: TestAnswers) -> list[dict[str, float]]:
    """Compute `threshold`, `coverage` and `accuracy` if only answers at least as sure are given."""
    # At each distinct confidence, the surest last.
    confidence = answers.probabilities.max(axis=1)
    rows = []
    for threshold in np.unique(confidence).tolist():
        answered = confidence >= threshold
        rows.append(
            {
                "threshold": threshold,
                "coverage": float(answered.mean()),
                "accuracy": float(answers.right[answered].mean()),
            }
        )
    return rows
