"""Where SavedModels are: in artifacts, and in the serving folder's versions."""

from __future__ import annotations

import os

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from schema import contract


def has_saved_model(model: types.Artifact) -> bool:
    """Whether a Model artifact's files are there.

    Args:
        model: its folder, local or remote, need not exist.
    """
    folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return bool(fileio.exists(os.path.join(folder, contract.SAVED_MODEL_FILE)))


def given_model(models: list[types.Artifact] | None) -> types.Artifact | None:
    """The one artifact of an input that may be missing or hold no SavedModel; None in either case.

    A resolver that finds no model hands on nothing, and a step that finds none an empty artifact.

    Args:
        models: the input's artifacts.
    """
    found = artifact_utils.get_single_instance(models) if models else None
    return found if found and has_saved_model(found) else None


def versions_in(base: str) -> list[str]:
    """Names of a model's versions, the highest first; those half copied are among them.

    Args:
        base: the model's serving folder, local or remote; it need not exist.
    """
    # Remote file systems end a folder's name with a slash.
    names = [name.rstrip("/") for name in fileio.listdir(base)] if fileio.exists(base) else []
    return sorted((name for name in names if name.isdecimal()), key=int, reverse=True)
