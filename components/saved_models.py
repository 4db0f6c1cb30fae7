"""The places of SavedModels: in artifacts, and in the serving folder's versions."""

from __future__ import annotations

import os

from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from schema import contract


def has_saved_model(model: types.Artifact) -> bool:
    """Return whether a Model artifact's files are there.

    Args:
        model: its folder, local or remote, need not exist.
    """
    folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return bool(fileio.exists(os.path.join(folder, contract.SAVED_MODEL_FILE)))


def versions_in(base: str) -> list[str]:
    """Name a model's versions, the highest first; those half copied are among them.

    Args:
        base: the model's serving folder, local or remote; it need not exist.
    """
    # Remote file systems end a folder's name with a slash.
    names = [name.rstrip("/") for name in fileio.listdir(base)] if fileio.exists(base) else []
    return sorted((name for name in names if name.isdecimal()), key=int, reverse=True)
