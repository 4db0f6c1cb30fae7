"""Asks the audit, and pushes along with the model what belongs beside it."""

from __future__ import annotations

import os
from typing import Final

from tfx import types
from tfx.components.pusher import executor
from tfx.types import standard_component_specs
from tfx.utils import io_utils

from components.infra_check.note import precision_of, write_note
from components.model_card.beside import put_beside
from components.shortcut_audit.artifact import lets_push

MODEL_CARD: Final = "model_card"
AUDIT: Final = "audit"


class Executor(executor.Executor):
    """TFX's Pusher; a model card and a note of the precision go into `assets.extra`."""

    def CheckBlessing(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> bool:
        """Whether the model is blessed and, where the audit is asked, that lets it pass."""
        return super().CheckBlessing(input_dict) and lets_push(input_dict.get(AUDIT))

    def GetModelPath(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> str:
        """The folder that is copied: the model's, or a copy with what belongs beside it."""
        model: str = super().GetModelPath(input_dict)
        precision = precision_of(input_dict.get(standard_component_specs.INFRA_BLESSING_KEY))
        card = input_dict.get(MODEL_CARD)
        if precision is None and not card:
            return model
        # An artifact is never written to by who reads it.
        copied = os.path.join(self._get_tmp_dir(), "model")
        io_utils.copy_dir(model, copied)
        if precision is not None:
            write_note(copied, precision)
        put_beside(card, copied)
        return copied
