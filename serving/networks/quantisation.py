"""Trunks in int8, quantised after training; heads are small, and stay as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from absl import logging

from models.openvino_runtime import import_nncf, import_openvino
from serving.networks.plan import PartName, Plan
from serving.networks.store import DamagedError, Store

# All that was measured (docs/benchmarks.md) was with so many.
CALIBRATION_IMAGES: Final = 128
_SEED: Final = 0
# Activations may lie on both sides of 0; weights are symmetric.
_PRESET: Final = "MIXED"


class NotQuantisableError(Exception):
    """NNCF can't quantise a network, or isn't there."""


def choose_calibration(images: Sequence[np.ndarray]) -> np.ndarray:
    """Choose the images whose activations say how wide each layer's numbers range.

    Args:
        images: of the train split, grey levels uint8 [256, 256, 1], in an order that doesn't
            change.

    Returns:
        uint8 [n, 256, 256, 1], always the same of the same images.
    """
    order = np.random.default_rng(_SEED).permutation(len(images))
    return np.stack([images[index] for index in sorted(order[:CALIBRATION_IMAGES])])


def quantise_trunks(
    plan: Plan, read: Callable[[PartName], Any], images: np.ndarray, store: Store | None
) -> dict[str, Any]:
    """Quantise each trunk of a version once.

    Args:
        plan: of the version.
        read: a trunk -> its `openvino.Model`, which is left as it is.
        images: of `choose_calibration`.
        store: where quantised trunks are found again, by other models that have them, too.

    Returns:
        Trunk's key -> `openvino.Model`, with the trunk's outputs.

    Raises:
        NotQuantisableError: NNCF isn't there, or can't take one.
    """
    return {key: _quantised(part, read, images, store) for key, part in plan.trunks.items()}


def quantise(model: Any, images: np.ndarray) -> Any:
    """Quantise a network.

    Args:
        model: `openvino.Model`, pixels float32 [1, 256, 256, 1] -> vectors; left as it is.
        images: as in `quantise_trunks`.

    Raises:
        NotQuantisableError: NNCF isn't there, or can't take it.
    """
    try:
        nncf = import_nncf()
        data = nncf.Dataset([image[np.newaxis].astype(np.float32) for image in images])
        return nncf.quantize(
            model.clone(),
            data,
            preset=nncf.QuantizationPreset[_PRESET],
            subset_size=len(images),
        )
    # NNCF has classes of its own for a few of the things that go wrong.
    except Exception as error:
        raise NotQuantisableError(f"{type(error).__name__}: {error}") from error


def _quantised(
    part: PartName, read: Callable[[PartName], Any], images: np.ndarray, store: Store | None
) -> Any:
    if store is None:
        return quantise(read(part), images)
    kept = PartName(_key(part, images), part.outputs)
    try:
        return store.read(kept)
    except DamagedError:
        logging.info("trunk %s is quantised", part.key[:12])
    made = quantise(read(part), images)
    try:
        store.write_part(kept.key, made)
    except OSError as error:
        logging.warning("%s: a quantised network can't be kept: %s", store.root, error)
    return made


def _key(part: PartName, images: np.ndarray) -> str:
    """Hash all that a quantised trunk depends on."""
    versions = (import_nncf().__version__, import_openvino().__version__)
    lines = ("int8", part.key, *versions, _PRESET, hashlib.sha256(images.tobytes()).hexdigest())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
