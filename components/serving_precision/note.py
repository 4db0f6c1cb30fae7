"""The note of the precision in which a model is to be served, handed on to the server."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Final

from tfx import types
from tfx.types import artifact_utils
from tfx.utils import io_utils

from schema import contract

# A property of the InfraBlessing, and the note's one field.
PRECISION: Final = "precision"


def precision_of(infra_blessing: Sequence[types.Artifact] | None) -> str | None:
    """Read the precision in which alone the model was found to be served well, if it was one.

    Args:
        infra_blessing: an InfraBlessing, InfraCheck's or TFX's InfraValidator's; or none.
    """
    if not infra_blessing:
        return None
    artifact = artifact_utils.get_single_instance(list(infra_blessing))
    return artifact.get_string_custom_property(PRECISION) or None


def write_note(saved_model: str, precision: str) -> None:
    """Put the note into a SavedModel's folder, local or remote."""
    io_utils.write_string_file(
        os.path.join(saved_model, contract.SERVING_NOTE_FILE), note_text(precision)
    )


def note_text(precision: str) -> str:
    """Write the note."""
    return json.dumps({PRECISION: precision})
