"""The places of SavedModels: in artifacts, and in the serving folder's versions."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from schema import contract

_BESIDE: Final = "assets.extra"
_BLOCK: Final = 1 << 20


def has_saved_model(model: types.Artifact) -> bool:
    """Return whether a Model artifact's files are there.

    Args:
        model: its folder, local or remote, need not exist.
    """
    folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return bool(fileio.exists(os.path.join(folder, contract.SAVED_MODEL_FILE)))


def given_model(models: list[types.Artifact] | None) -> types.Artifact | None:
    """Return the one artifact of an input; None where it is missing or holds no SavedModel.

    A resolver that finds no model hands on nothing, and a step that finds none an empty artifact.

    Args:
        models: the input's artifacts.
    """
    found = artifact_utils.get_single_instance(models) if models else None
    return found if found and has_saved_model(found) else None


def digest_of_model(folder: str) -> str:
    """Compute what a SavedModel is known by, wherever it is copied to.

    Args:
        folder: of the SavedModel, local or remote. What a push puts beside it, in
            `assets.extra`, doesn't count.

    Returns:
        SHA-256, in hex, of the names and contents of its files.
    """
    digest = hashlib.sha256()
    paths = [
        os.path.join(parent, name)
        for parent, _, names in fileio.walk(folder)
        for name in names
        if os.path.basename(parent.rstrip("/")) != _BESIDE
    ]
    for name, path in sorted((os.path.relpath(path, folder), path) for path in paths):
        content = hashlib.sha256()
        with fileio.open(path, "rb") as file:
            while block := file.read(_BLOCK):
                content.update(block)
        digest.update(f"{name}\n{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def versions_in(base: str) -> list[str]:
    """Name a model's versions, the highest first; those half copied are among them.

    Args:
        base: the model's serving folder, local or remote; it need not exist.
    """
    # Remote file systems end a folder's name with a slash.
    names = [name.rstrip("/") for name in fileio.listdir(base)] if fileio.exists(base) else []
    return sorted((name for name in names if name.isdecimal()), key=int, reverse=True)
