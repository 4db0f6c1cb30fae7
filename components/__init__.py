"""Custom TFX components, a folder each; and what they share: TFMA's result, versions.

The artifact types are here by name, too: where Kubeflow runs a step, TFX imports them as
`components.SplitManifest`, which is their TYPE_NAME (the only form that its compiler takes).
They are looked up on first use, since no other code should wait for TFX.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

_ARTIFACTS: Final = {
    "AuditReport": "components.shortcut_audit.artifact",
    "ModelCardFiles": "components.model_card.artifact",
    "ReportArtifact": "components.report.component",
    "ServingPrecisionFiles": "components.serving_precision.artifact",
    "SpanDriftReport": "components.span_drift.artifact",
    "SplitManifest": "components.radiograph_example_gen.artifact",
}


def __getattr__(name: str) -> Any:
    if name in _ARTIFACTS:
        return getattr(importlib.import_module(_ARTIFACTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
