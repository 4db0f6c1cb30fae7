"""A training's word against its own model: heeded by Champion and the Pushers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from absl import logging
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from schema import contract


def may_be_pushed(model_run: Sequence[Artifact] | None) -> bool:
    """Return whether nothing in validation.json speaks against a push; say in the log what does.

    Args:
        model_run: one ModelRun, or none.
    """
    if not model_run:
        return True
    folder = artifact_utils.get_single_uri(list(model_run))
    path = os.path.join(folder, contract.VALIDATION_FILE)
    if not fileio.exists(path):
        return True
    with fileio.open(path) as file:
        refused = json.load(file).get(contract.NOT_TO_PUSH)
    if refused:
        logging.warning("Not pushed: %s", refused)
    return not refused
