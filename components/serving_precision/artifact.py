"""The artifact type of the choice of a precision."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class ServingPrecisionFiles(Artifact):
    """The folder holds what goes into `assets.extra` of a pushed model.

    `cxr_serving.json` names the precision where it isn't the server's to choose; `int8.json` says
    whether int8 was chosen, and why; where it was, the quantised networks lie beside it.
    """

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.ServingPrecisionFiles"
