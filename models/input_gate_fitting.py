"""Fits the input gate to what training has: held-out images, or folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from models.backbones import Pool
from models.cross_validation import assign_folds
from models.input_gate import (
    InputGate,
    Look,
    PixelGate,
    Taps,
    averaged,
    fit_look,
    fit_pixels,
    pose_probabilities,
    thresholds,
)
from models.training_data import ImageTaps

# SHA-256 of an image -> what `models.input_gate.facts_of` says of it.
Facts = Mapping[str, np.ndarray]


def fit_held_out(
    training: Taps,
    training_facts: Facts,
    unseen: Taps,
    unseen_facts: Facts,
    unseen_images: Sequence[str],
    pools: Mapping[str, Pool],
    false_alarms: float,
) -> InputGate | None:
    """Fit to the train split; the validation split says the thresholds.

    Args:
        training: {tap: float32 [rows, channels]}.
        training_facts: of the same images.
        unseen: {tap: float32 [images, channels]}, of the validation split.
        unseen_facts: of the same images.
        unseen_images: their digests, in the order of `unseen`.
        pools: tap -> how it is pooled; other taps have no part in it.
        false_alarms: the share of radiographs that may be kept out.

    Returns:
        The gate; None where the facts of an image are missing.
    """
    if not training_facts or any(digest not in unseen_facts for digest in unseen_images):
        return None
    pixels = fit_pixels(_stacked(training_facts, sorted(training_facts)))
    look = fit_look({name: training[name] for name in _kept(pools)}, _grids(pools))
    as_is = pose_probabilities(pixels, _stacked(unseen_facts, unseen_images))[:, 0]
    return _with_thresholds(pixels, look, as_is, look.distance(unseen), false_alarms, 0)


def fit_out_of_fold(
    images: ImageTaps,
    facts: Facts,
    pools: Mapping[str, Pool],
    false_alarms: float,
    seed: int,
) -> InputGate | None:
    """Fit to all images; folds say the thresholds, each judged by what the others give.

    Args:
        images: of all splits that are fitted.
        facts: of the same images.
        pools: tap -> how it is pooled; other taps have no part in it.
        false_alarms: the share of radiographs that may be kept out.
        seed: of the folds, which are those of the heads.

    Returns:
        The gate; None where the facts of an image are missing.

    Raises:
        InputError: a class has images of one patient alone.
    """
    if any(digest not in facts for digest in images.sha256):
        return None
    rows = _stacked(facts, images.sha256)
    folds = assign_folds(images.labels, images.groups, seed)
    numbers = np.unique(folds)
    as_is, distances = np.zeros(len(folds)), np.zeros(len(folds))
    kept, grids = _kept(pools), _grids(pools)
    # Cells are averaged once, and not again by each fold.
    means = {name: averaged(name, images.taps[name], grids) for name in kept}
    images = replace(images, taps=means)
    for fold in numbers:
        fitted, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        taps = images.split(fitted, asked)
        pixels = fit_pixels(rows[fitted])
        as_is[asked] = pose_probabilities(pixels, rows[asked])[:, 0]
        distances[asked] = fit_look(taps.training[0], frozenset()).distance(taps.validation[0])
    everything = np.arange(len(folds))
    whole = images.split(everything, everything).training[0]
    return _with_thresholds(
        fit_pixels(rows),
        replace(fit_look(whole, frozenset()), grids=grids),
        as_is,
        distances,
        false_alarms,
        len(numbers),
    )


def _kept(pools: Mapping[str, Pool]) -> list[str]:
    # Maxima have long tails, which only make thresholds high. They count where all else is missing.
    return [name for name, how in pools.items() if how != "max"] or list(pools)


def _grids(pools: Mapping[str, Pool]) -> frozenset[str]:
    return frozenset(name for name, how in pools.items() if how == "grid")


def _with_thresholds(
    pixels: PixelGate,
    look: Look,
    as_is: np.ndarray,
    distances: np.ndarray,
    false_alarms: float,
    folds: int,
) -> InputGate:
    below, farthest = thresholds(as_is, distances, false_alarms)
    facts = {
        "false_alarms": false_alarms,
        "images": len(as_is),
        "folds": folds,
        "kept_out": int(((as_is < below) | (distances > farthest)).sum()),
    }
    return InputGate(replace(pixels, as_is_below=below), replace(look, farthest=farthest), facts)


def _stacked(facts: Facts, digests: Sequence[str]) -> np.ndarray:
    return np.stack([facts[digest] for digest in digests])
