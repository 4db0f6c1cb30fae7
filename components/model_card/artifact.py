"""The artifact type of the model card."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class ModelCardFiles(Artifact):
    """The folder holds `model_card.md` for people and `model_card.json` for programs.

    The second has every number of the first; its keys are the fields of
    `components.model_card.content.Card`. Where the model learned from DICOM, `cxr_rendering.json`
    says how it became grey levels, for the server.
    """

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.ModelCardFiles"
