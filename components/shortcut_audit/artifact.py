"""The artifact type of the audit, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

# Custom property: 1 where no limit is exceeded.
PASSED: Final = "passed"


class AuditReport(Artifact):
    """The leaks between splits, and what predicts the class without the lungs.

    The folder holds `audit.json`; see `components.shortcut_audit.report`. Custom properties:
    `passed`, `duplicates_across_splits` and `patients_across_splits` (int).
    """

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.AuditReport"


def lets_push(audit: Sequence[Artifact] | None) -> bool:
    """Return whether a model may be pushed; yes where the audit isn't asked.

    Args:
        audit: one AuditReport, or none.
    """
    if not audit:
        return True
    artifact = artifact_utils.get_single_instance(list(audit))
    return bool(artifact.get_int_custom_property(PASSED) == 1)
