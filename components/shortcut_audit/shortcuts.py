"""The success of predicting the class from things that are not lungs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from common.intervals import wilson95
from components.shortcut_audit.radiographs import THUMBNAIL_SIDE, Radiograph
from components.shortcut_audit.regions import border, lung_field
from schema import contract

METADATA: Final = "metadata"
STATISTICS: Final = "image_statistics"
BORDERS: Final = "borders_and_corners"
MASKED: Final = "lungs_masked"
WHOLE: Final = "whole_image"
_COLUMN: Final = "column:"
_NAMES: Final = {
    METADATA: "metadata: all columns",
    STATISTICS: "image statistics",
    BORDERS: "border and corners",
    MASKED: "image without its lungs",
    WHOLE: "whole image, for comparison",
}
# Hundreds of pixels and hundreds of images: without it, every image is fitted by heart. From
# 0.01 to 0.1 the figures on the reference radiographs' validation split are the same.
_PIXEL_STRENGTH: Final = 0.01
# More teach these few hundred weights nothing; it bounds memory and time.
_MOST_FITTED: Final = 20_000
_ITERATIONS: Final = 5_000


@dataclass(frozen=True)
class Shortcut:
    """The test images that a logistic regression gets right that never saw the lungs.

    Attributes:
        seen: by it; `column_shortcut` names a single column's.
        against_rest: the class that is told from all others; None where all are told apart.
        correct: test images.
        total: test images.
        accuracy: 0..1.
        wilson95: its 95 % interval, both ends 0..1.
        chance: share of the most frequent answer on the test split, 0..1.
        above_chance: whether the interval's lower end is above it.
    """

    seen: str
    against_rest: str | None
    correct: int
    total: int
    accuracy: float
    wilson95: tuple[float, float]
    chance: float
    above_chance: bool

    @property
    def name(self) -> str:
        """The name for people; no two that are measured have the same."""
        column = column_of(self.seen)
        name = f"metadata: {column}" if column else _NAMES[self.seen]
        return f"{name}, {self.against_rest} or not" if self.against_rest else name


def column_shortcut(column: str) -> str:
    """Return the `seen` of a single column of metadata.csv."""
    return f"{_COLUMN}{column}"


def column_of(seen: str) -> str | None:
    """Return the column of metadata.csv that `seen` names; None where it names none."""
    return seen.removeprefix(_COLUMN) if seen.startswith(_COLUMN) else None


def measure_shortcuts(images: Sequence[Radiograph], seed: int) -> list[Shortcut]:
    """Fit on training and validation split, and count on the test split.

    Args:
        images: of all splits.
        seed: which images are fitted where there are more than 20,000.

    Returns:
        All classes first, then each class against the rest, from metadata and its columns.
        Empty where the test split is, or there are no two classes to tell apart.
    """
    test = np.array([image.split == contract.SPLIT_TEST for image in images], bool)
    labels = np.array([image.label for image in images], np.int64)
    fitted = _sample(np.flatnonzero(~test), seed)
    judged = np.flatnonzero(test)
    if not len(judged) or len(np.unique(labels[fitted])) < 2:
        return []
    names = {image.label: image.class_name for image in images}
    shortcuts = []
    metadata = dict(_metadata_views(images))
    for seen, (model, values) in (metadata | dict(_image_views(images))).items():
        model.fit(values[fitted], labels[fitted])
        right = model.predict(values[judged]) == labels[judged]
        shortcuts.append(_counted(seen, None, right, labels[judged]))
    for label in np.unique(labels[fitted]) if len(names) > 2 else []:
        is_it = labels == label
        for seen, (model, values) in metadata.items():
            model.fit(values[fitted], is_it[fitted])
            right = model.predict(values[judged]) == is_it[judged]
            shortcuts.append(_counted(seen, names[label], right, is_it[judged]))
    return shortcuts


def _sample(indices: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(indices) <= _MOST_FITTED:
        return indices
    chosen = np.random.default_rng(seed).choice(indices, _MOST_FITTED, replace=False)
    return np.sort(chosen)


def _counted(
    seen: str, against_rest: str | None, right: NDArray[np.bool_], answers: NDArray[Any]
) -> Shortcut:
    correct, total = int(right.sum()), len(right)
    low, high = wilson95(correct, total)
    chance = float(np.unique(answers, return_counts=True)[1].max() / total)
    return Shortcut(
        seen=seen,
        against_rest=against_rest,
        correct=correct,
        total=total,
        accuracy=correct / total,
        wilson95=(low, high),
        chance=chance,
        above_chance=low > chance,
    )


def _metadata_views(images: Sequence[Radiograph]) -> Iterator[tuple[str, tuple[Pipeline, Any]]]:
    """Yield all columns together, and each alone; those that are empty throughout are left out.

    That a value is unknown is a value: often it is known for one class only.
    """
    text = {
        column: [image.text[column] for image in images]
        for column in images[0].text
        if any(image.text[column] != contract.UNKNOWN for image in images)
    }
    numbers = {
        column: [image.numbers[column] for image in images]
        for column in images[0].numbers
        if not all(np.isnan(image.numbers[column]) for image in images)
    }
    columns: list[Sequence[Any]] = [*text.values(), *numbers.values()]
    names = [*text, *numbers]
    if not columns:
        return
    table = np.empty((len(images), len(columns)), object)
    for index, values in enumerate(columns):
        table[:, index] = values
    yield METADATA, (_metadata_model(len(text), len(numbers)), table)
    for index, name in enumerate(names):
        model = _metadata_model(int(name in text), int(name in numbers))
        yield column_shortcut(name), (model, table[:, [index]])


def _metadata_model(texts: int, numbers: int) -> Pipeline:
    """Build the model of a table whose first columns are text and whose last are numbers."""
    known = make_pipeline(
        SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), list(range(texts))),
        (known, list(range(texts, texts + numbers))),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=_ITERATIONS))


def _image_views(images: Sequence[Radiograph]) -> Iterator[tuple[str, tuple[Pipeline, Any]]]:
    statistics = np.stack([image.statistics for image in images])
    yield STATISTICS, (_number_model(1.0), statistics)
    thumbnails = np.stack([image.thumbnail for image in images])
    for seen, pixels in (
        (BORDERS, border(THUMBNAIL_SIDE)),
        (MASKED, ~lung_field(THUMBNAIL_SIDE)),
        (WHOLE, np.ones((THUMBNAIL_SIDE, THUMBNAIL_SIDE), bool)),
    ):
        yield seen, (_number_model(_PIXEL_STRENGTH), thumbnails[:, pixels])


def _number_model(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS))
