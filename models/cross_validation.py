"""Answers to every image by a head that was fitted without it, nor another of its patient.

An image's group is what must not be torn apart: all images of a patient carry the same
(`contract.GROUP`, which the split into train, eval and test goes by, too).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import logging
from sklearn.model_selection import StratifiedGroupKFold

from common.errors import InputError

FOLDS = 5
# (rows to fit on, rows to answer), int64 each -> head -> probabilities [asked, n].
FitAndAnswer = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


def assign_folds(
    labels: np.ndarray, groups: Sequence[str], seed: int, folds: int = FOLDS
) -> np.ndarray:
    """Deals images to folds: each group to one, and each class evenly, as far as groups let.

    Which images share a fold depends on labels, groups and seed, and not on the images' order.

    Args:
        labels: class of each image, int [images].
        groups: of each image.
        seed: from 0 on.
        folds: how many, at least 2. Where a class has fewer groups, there are as few folds,
            and the log says so.

    Returns:
        The fold of each image, int64 [images], from 0 on without a gap. Each class is in two
        folds at least, so that it can be learnt without any one of them.

    Raises:
        InputError: a class has a single group.
    """
    labels, keys = np.asarray(labels), np.asarray(groups)
    classes = np.unique(labels).tolist()
    fewest = min(len(np.unique(keys[labels == label])) for label in classes)
    for count in range(min(folds, fewest), 1, -1):
        assigned = _dealt(labels, keys, seed, count)
        if all(len(np.unique(assigned[labels == label])) > 1 for label in classes):
            if count < folds:
                logging.warning(
                    "Cross-validation has %d folds and not %d: a class has %d patients or single "
                    "images.", count, folds, fewest,
                )  # fmt: skip
            return assigned
    raise InputError(
        "training.validation: cross needs images of at least two patients of each class; set it "
        "to holdout, or add images of other patients."
    )


def out_of_fold(folds: np.ndarray, fit_and_answer: FitAndAnswer) -> dict[str, np.ndarray]:
    """Has each fold answered by what was fitted on all others.

    Args:
        folds: of each image, int64 [images]; see `assign_folds`.
        fit_and_answer: is called fold by fold, with the numbers of the images, ascending.

    Returns:
        Head -> probabilities, float64 [images, n], in the images' order.

    Raises:
        ValueError: there is one fold, so that nothing is left to fit on.
    """
    answers: dict[str, np.ndarray] = {}
    numbers = np.unique(folds).tolist()
    if len(numbers) < 2:
        raise ValueError(f"folds: {len(numbers)} instead of two or more")
    for fold in numbers:
        asked = np.flatnonzero(folds == fold)
        for head, part in fit_and_answer(np.flatnonzero(folds != fold), asked).items():
            whole = answers.setdefault(head, np.full((len(folds), part.shape[1]), np.nan))
            whole[asked] = part
    return answers


def _dealt(labels: np.ndarray, keys: np.ndarray, seed: int, folds: int) -> np.ndarray:
    # Groups are dealt in the order of their numbers, which are drawn here: up to 1.5 at least,
    # with `shuffle=True` scikit-learn mixes up whose counts are whose, and nothing is even.
    names, numbers = np.unique(keys, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names))[numbers]
    assigned = np.empty(len(labels), np.int64)
    parts = StratifiedGroupKFold(folds).split(np.zeros(len(labels)), labels, drawn)
    for fold, (_, members) in enumerate(parts):
        assigned[members] = fold
    return np.unique(assigned, return_inverse=True)[1].astype(np.int64)
