"""Puts a model card, and what goes with it, beside a SavedModel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from schema import contract

_RENDERING_NOTE: Final = os.path.basename(contract.RENDERING_NOTE_FILE)


def put_beside(model_card: Sequence[types.Artifact] | None, saved_model: str) -> None:
    """Copy all files of a card into a SavedModel's `assets.extra`.

    Args:
        model_card: ModelCard's `model_card`; nothing is copied where there is none.
        saved_model: the folder with saved_model.pb, local or remote; not that of an artifact
            that another node wrote.
    """
    if not model_card:
        return
    source = artifact_utils.get_single_uri(list(model_card))
    folder = os.path.join(saved_model, contract.EXTRA_ASSETS)
    fileio.makedirs(folder)
    names = [contract.MODEL_CARD_FILE, contract.MODEL_CARD_DATA_FILE]
    if fileio.exists(os.path.join(source, _RENDERING_NOTE)):
        names.append(_RENDERING_NOTE)
    for name in names:
        io_utils.copy_file(os.path.join(source, name), os.path.join(folder, name))
