"""Puts the choice of a precision, and what it needs, beside a SavedModel."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Final

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from common.digests import digest_of
from components.serving_precision.note import precision_of, write_note
from schema import contract

_CHOICE: Final = os.path.basename(contract.INT8_CHOICE_FILE)


def put_precision_beside(
    files: Sequence[types.Artifact] | None,
    infra_blessing: Sequence[types.Artifact] | None,
    saved_model: str,
) -> None:
    """Copy a choice into a SavedModel's `assets.extra`; what InfraCheck found has the last word.

    Args:
        files: ServingPrecision's `files`; nothing is copied where there is none.
        infra_blessing: InfraCheck's or InfraValidator's; or none.
        saved_model: the folder with saved_model.pb, local or remote; not that of an artifact
            that another node wrote.
    """
    found = precision_of(infra_blessing)
    if files:
        source = artifact_utils.get_single_uri(list(files))
        folder = os.path.join(saved_model, contract.EXTRA_ASSETS)
        fileio.makedirs(folder)
        for name in _names(source):
            if found is None:
                io_utils.copy_file(
                    os.path.join(source, name), os.path.join(folder, name), overwrite=True
                )
            elif name == _CHOICE:
                text = io_utils.read_string_file(os.path.join(source, name))
                io_utils.write_string_file(os.path.join(folder, name), _overruled(text, found))
    if found is not None:
        write_note(saved_model, found)


def _names(folder: str) -> list[str]:
    return sorted(fileio.listdir(folder)) if fileio.exists(folder) else []


def _overruled(text: str, precision: str) -> str:
    """Write a choice of int8 anew: it wasn't chosen after all."""
    content = json.loads(text)
    content.pop("digest")
    content |= {
        "chosen": False,
        "reason": f"InfraCheck found answers that are off, and right ones in {precision}",
        "files": {},
    }
    return json.dumps({**content, "digest": digest_of(content)}, indent=1)
