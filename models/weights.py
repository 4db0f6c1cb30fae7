"""Finds the pre-trained weights of a backbone, without importing TensorFlow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from common.keras_home import keras_cache
from models.backbones import Backbone

IMAGENET: Final = "imagenet"
RANDOM: Final = "random"
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class WeightsSource:
    """The source of a backbone's weights.

    Attributes:
        label: "imagenet", "random", or the file's name for other pre-training.
        path: the file, or a URI as a step elsewhere sees it; None for random weights.
        sha256: hex digest of the file; empty for random weights.
    """

    label: str
    path: Path | str | None = None
    sha256: str = ""


def find_weights(backbone: Backbone, weights_dir: Path | None) -> WeightsSource | None:
    """Look for the weights on this machine.

    The order: the file in `weights_dir` with Keras' own name for the ImageNet weights;
    else the one file there named `<backbone>_*notop.h5` (some other pre-training, never
    called ImageNet); else Keras' cache (`$KERAS_HOME` or `~/.keras`).

    Returns:
        The source, or None where there is no file.

    Raises:
        InputError: `weights_dir` is no folder or holds several candidates, or the file
            can't be read.
    """
    if weights_dir is not None:
        if not weights_dir.is_dir():
            raise InputError(f"weights-dir: {weights_dir} is not a folder.")
        imagenet = weights_dir / backbone.imagenet_file
        if imagenet.is_file():
            return _source(imagenet, IMAGENET)
        found = weights_dir.glob(f"{backbone.name}_*notop.h5")
        others = sorted(path for path in found if path.is_file())
        if len(others) > 1:
            names = ", ".join(path.name for path in others)
            raise InputError(
                f"weights-dir: {weights_dir} holds several weights for {backbone.name} "
                f"({names}); keep one, or name the ImageNet file {backbone.imagenet_file}."
            )
        if others:
            return _source(others[0], others[0].name)
    cached = keras_cache() / backbone.imagenet_file
    return _source(cached, IMAGENET) if cached.is_file() else None


def _source(path: Path, label: str) -> WeightsSource:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"weights: {path} can't be read ({error.strerror}).") from error
    return WeightsSource(label, path.resolve(), digest.hexdigest())


def missing_weights_error(backbone: Backbone, weights_dir: Path | None, cause: str) -> InputError:
    """Make the error for a backbone whose weights can neither be found nor downloaded."""
    return InputError(
        f"weights: none found for {backbone.name} in "
        f"{weights_dir or '(no --weights-dir given)'} or {keras_cache()}, and the download "
        f"failed ({cause}). Put {backbone.imagenet_file} or {backbone.name}_<name>_notop.h5 "
        "into a folder and give it as --weights-dir; or use --preset demo, which goes on "
        "with random weights."
    )
