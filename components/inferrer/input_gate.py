"""Counts what a model's input gate keeps out: test images, and images of no chest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from models import feature_records
from models.evaluation_model import LoadedHeads
from models.input_gate import PixelGate, facts_of, posed, reasons_of
from models.planted import KINDS, blank, digest_of, planted
from schema import contract

# Kinds that are made of the test split's images; the pixels alone tell them, so that no network
# has to run again.
INVERTED: Final = "inverted"
TURNED: Final = "turned"
BLANK: Final = "blank"

Answers = Mapping[str, Mapping[str, np.ndarray]]


def gate_figures(
    heads: LoadedHeads,
    answers: Answers,
    features: Mapping[str, Sequence[str]],
    folders: Mapping[str, str],
) -> dict[str, Any] | None:
    """Count what the gate keeps out.

    Args:
        heads: the model's.
        answers: to the test split (`LoadedHeads.ask`).
        features: backbone -> patterns of the test split's feature records.
        folders: backbone -> folder of the planted images' feature records.

    Returns:
        `test`: `images` and `kept_out`; `kinds`: kind -> `images` and `caught`. Of images that
        are inverted or turned only what the pixels tell is counted. None where the model has no
        gate, or the records don't say what it has to know.
    """
    gate = heads.gate
    known = feature_records.read_gate_facts(next(iter(features.values())))
    if gate is None or not set(answers) <= set(known):
        return None
    digests = sorted(answers)
    facts = np.stack([known[digest] for digest in digests])
    distances = np.array([answers[digest][contract.DISTANCE][0] for digest in digests])
    as_is, inverted, *turned = posed(facts)
    kinds = {
        BLANK: _by_pixels(gate, facts_of(blank())),
        INVERTED: _by_pixels(gate, inverted),
        TURNED: _by_pixels(gate, np.concatenate(turned)),
    }
    if all(tf.io.gfile.isdir(folder) for folder in folders.values()):
        kinds |= _planted(gate, heads, folders)
    caught = _count(reasons_of(gate, as_is, distances))
    return {"test": {"images": len(facts), "kept_out": caught}, "kinds": kinds}


def _by_pixels(gate: PixelGate, facts: np.ndarray) -> dict[str, int]:
    reasons = reasons_of(gate, facts, np.zeros(len(facts)))
    return {"images": len(facts), "caught": _count(reasons)}


def _planted(
    gate: PixelGate, heads: LoadedHeads, folders: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    patterns = {name: [os.path.join(folder, "*")] for name, folder in folders.items()}
    answers = heads.ask(patterns)
    images, found = planted(), {}
    for kind in KINDS:
        told = [answers[digest_of(image)][contract.DISTANCE][0] for image in images[kind]]
        reasons = reasons_of(gate, facts_of(images[kind]), np.array(told))
        found[kind] = {"images": len(reasons), "caught": _count(reasons)}
    return found


def _count(reasons: Sequence[str]) -> int:
    return sum(reason != contract.DOMAIN_OK for reason in reasons)
