"""Prediction of the class by what a table gives away besides its values.

Asked of the table are: its presence flags alone (who was measured at all), how many images the
patient has, each column alone, and the words of each text alone. All is answered out of fold, by
patient, and the figures have intervals by bootstrap over patients (`models.by_patient`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from common.errors import InputError
from models.by_patient import Interval, accuracy, auc, bootstrap, losses, paired
from models.cross_validation import assign_folds, out_of_fold
from schema.table import CATEGORICAL, NUMERIC, TEXT, TableColumn

TABLE: Final = "table"
PRESENCE: Final = "presence"
IMAGES: Final = "images_a_patient"
_COLUMN: Final = "column:"
_WORDS: Final = "words:"
_ITERATIONS: Final = 2_000
_HASHED: Final = 2**12
# Share of what the whole table is better than guessing by, in log loss, from which on one thing
# alone is said to explain it.
EXPLAINS: Final = 0.8


@dataclass(frozen=True)
class TableShortcut:
    """The prediction of the class by one thing alone.

    Attributes:
        seen: TABLE, PRESENCE, IMAGES, or a column's; `column_of` says which.
        auc: area under the ROC curve, of all classes.
        accuracy: share of right answers.
        gain: by how much its log loss is less than that of guessing by frequency, nats.
        error: the standard error of the gain, over patients.
        chance: share of the most frequent class.
    """

    seen: str
    auc: Interval
    accuracy: Interval
    gain: float
    error: float
    chance: float

    @property
    def telling(self) -> bool:
        """True where it predicts the class better than guessing."""
        return self.gain > self.error and self.auc.low > 0.5

    @property
    def name(self) -> str:
        """The name for people."""
        if column := column_of(self.seen):
            return f"the words of {column}" if self.seen.startswith(_WORDS) else column
        return {
            TABLE: "the whole table",
            PRESENCE: "which values are there",
            IMAGES: "how many images a patient has",
        }[self.seen]

    def as_json(self) -> dict[str, Any]:
        """Return all of it; null for what is no number."""
        return {
            **asdict(self),
            "auc": self.auc.as_json(),
            "accuracy": self.accuracy.as_json(),
            "error": self.error if math.isfinite(self.error) else None,
            "name": self.name,
            "telling": self.telling,
        }


def column_of(seen: str) -> str | None:
    """Return the column that `seen` names; None where it names none."""
    for prefix in (_COLUMN, _WORDS):
        if seen.startswith(prefix):
            return seen.removeprefix(prefix)
    return None


def measure(
    columns: Sequence[TableColumn],
    cells: Mapping[str, Sequence[Any]],
    labels: np.ndarray,
    groups: Sequence[str],
    seed: int,
) -> list[TableShortcut]:
    """Fit and answer out of fold, each thing on the same folds.

    Args:
        columns: of the table.
        cells: column's name -> its values, an image each: numbers (NaN is missing, infinities are
            beyond a detection limit), or texts ("" is missing).
        labels: class of each image, int [images].
        groups: what each image shares with its patient's.
        seed: of folds and draws.

    Returns:
        TABLE first. Empty where there is no second class, or too few patients for two folds.
    """
    if len(np.unique(labels)) < 2:
        return []
    try:
        folds = assign_folds(labels, groups, seed)
    except InputError:
        return []
    n = int(labels.max()) + 1
    guessed = out_of_fold(folds, lambda fit, ask: {"": _frequencies(labels[fit], n, len(ask))})[""]
    found = []
    for seen, rows, words in _views(columns, cells, groups):
        answers = _answers(rows, words, labels, folds, n)
        gained = paired(losses(guessed, labels) - losses(answers, labels), groups)
        found.append(
            TableShortcut(
                seen,
                bootstrap(auc, answers, labels, groups, seed=seed),
                bootstrap(accuracy, answers, labels, groups, seed=seed),
                gained.mean,
                gained.error,
                float(np.bincount(labels).max() / len(labels)),
            )
        )
    return found


def answers_of_views(
    columns: Sequence[TableColumn],
    cells: Mapping[str, Sequence[Any]],
    labels: np.ndarray,
    groups: Sequence[str],
    seed: int,
) -> dict[str, np.ndarray]:
    """Return what each thing alone answers out of fold, float64 [images, n]; as `measure` else.

    Raises:
        InputError: a class has one patient alone.
    """
    folds, n = assign_folds(labels, groups, seed), int(labels.max()) + 1
    return {
        seen: _answers(rows, words, labels, folds, n)
        for seen, rows, words in _views(columns, cells, groups)
    }


def explaining(shortcuts: Sequence[TableShortcut]) -> list[TableShortcut]:
    """Find what alone explains what the table adds: it predicts (nearly) as well as all of it.

    Args:
        shortcuts: of `measure`.
    """
    whole = next((one for one in shortcuts if one.seen == TABLE), None)
    if whole is None:
        return []
    single = sum(column_of(one.seen) is not None for one in shortcuts) == 1
    return [
        one
        for one in shortcuts
        if one.seen != TABLE
        and one.telling
        and one.gain >= EXPLAINS * whole.gain
        # A table of one column is explained by it without a leak.
        and not (single and column_of(one.seen))
    ]


def _views(
    columns: Sequence[TableColumn], cells: Mapping[str, Sequence[Any]], groups: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Yield what is seen, float [images, n] with NaN for missing or objects, and whether words."""
    by_column = {column.name: _numbers(column, cells[column.name]) for column in columns}
    everything = np.concatenate(list(by_column.values()), axis=1)
    yield TABLE, everything, False
    there = np.stack([_there(column, cells[column.name]) for column in columns], axis=1)
    yield PRESENCE, there.astype(np.float64), False
    counts = Counter(groups)
    of_patient = np.array([[math.log(counts[group])] for group in groups])
    yield IMAGES, of_patient, False
    for column in columns:
        words = column.kind == TEXT
        yield (_WORDS if words else _COLUMN) + column.name, by_column[column.name], words


def _there(column: TableColumn, values: Sequence[Any]) -> np.ndarray:
    if column.kind == NUMERIC:
        return ~np.isnan(np.asarray(values, np.float64))
    return np.array([bool(str(value).strip()) for value in values])


def _numbers(column: TableColumn, values: Sequence[Any]) -> np.ndarray:
    """Turn a column into numbers; that a value is missing is one of them."""
    there = _there(column, values)
    if column.kind == NUMERIC:
        given = np.asarray(values, np.float64)
        finite = given[np.isfinite(given)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        middle = float(np.median(finite)) if len(finite) else 0.0
        known = np.where(there, np.clip(np.nan_to_num(given, nan=middle), low, high), middle)
        return np.stack([known, there], axis=1).astype(np.float64)
    if column.kind == CATEGORICAL:
        words = np.array([[str(value).strip().lower()] for value in values])
        hot = OneHotEncoder(max_categories=column.values, sparse_output=False)
        return np.asarray(hot.fit_transform(words))
    hashed = HashingVectorizer(n_features=_HASHED, ngram_range=column.ngrams, norm="l2")
    return np.asarray(
        hashed.transform([_masked(str(value), column.mask) for value in values]).todense()
    )


def _masked(text: str, mask: Sequence[str]) -> str:
    """Take the masked words out, as Transform does: whole words, in any case."""
    for words in sorted(mask, key=len, reverse=True):
        inner = r"\W+".join(map(re.escape, words.split()))
        text = re.sub(rf"(?i)\b{inner}\b", " ", text)
    return text


def _answers(
    rows: np.ndarray, words: bool, labels: np.ndarray, folds: np.ndarray, n: int
) -> np.ndarray:
    def fit_and_answer(fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        model = _model(words).fit(rows[fitted], labels[fitted])
        found = np.zeros((len(asked), n))
        found[:, model.classes_] = model.predict_proba(rows[asked])
        return {"": found}

    return out_of_fold(folds, fit_and_answer)[""]


def _model(words: bool) -> Pipeline:
    regression = LogisticRegression(max_iter=_ITERATIONS)
    return make_pipeline(regression) if words else make_pipeline(StandardScaler(), regression)


def _frequencies(labels: np.ndarray, n: int, count: int) -> np.ndarray:
    shares = np.bincount(labels, minlength=n) / len(labels)
    return np.tile(shares, (count, 1))
