"""Asks the audit, and pushes what InfraCheck found out along with the model."""

from __future__ import annotations

import os
from typing import Final

from tfx import types
from tfx.components.pusher import executor
from tfx.types import standard_component_specs
from tfx.utils import io_utils

from components.infra_check.note import precision_of, write_note
from components.shortcut_audit.artifact import lets_push

AUDIT: Final = "audit"


class Executor(executor.Executor):
    """TFX's Pusher; a model that must be served in one precision is pushed with a note of it."""

    def CheckBlessing(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> bool:
        """Whether the model is blessed and, where the audit is asked, that lets it pass."""
        return super().CheckBlessing(input_dict) and lets_push(input_dict.get(AUDIT))

    def GetModelPath(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> str:
        """The folder that is copied: the model's, or a copy of it with the note."""
        model: str = super().GetModelPath(input_dict)
        precision = precision_of(input_dict.get(standard_component_specs.INFRA_BLESSING_KEY))
        if precision is None:
            return model
        # An artifact is never written to by who reads it.
        noted = os.path.join(self._get_tmp_dir(), "noted_model")
        io_utils.copy_dir(model, noted)
        write_note(noted, precision)
        return noted
