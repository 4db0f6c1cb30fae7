"""Which code the cached results of the nodes depend on.

Heads and training are not among what features depend on, so that working on them costs none.
"""

from __future__ import annotations

from typing import Final

EXAMPLE_GEN_CODE: Final = (
    "components/radiograph_example_gen",
    "models/deep_images.py",
    "schema/contract.py",
    "schema/image_names.py",
)
PREPROCESSING_CODE: Final = ("models/preprocessing.py", "schema/contract.py")
BACKBONE_CODE: Final = ("models/backbones.py", "schema/contract.py")
FEATURE_CODE: Final = (
    "models/boundary.py",
    "models/devices.py",
    "models/engines.py",
    "models/openvino_runtime.py",
    "models/feature_records.py",
    "models/prefix.py",
    "models/views.py",
)
CHAMPION_CODE: Final = (
    "components/champion",
    "components/infra_check/note.py",
    "components/model_card/beside.py",
    "models/choice.py",
    "schema/contract.py",
)
MODEL_CARD_CODE: Final = (
    "components/evaluation_results.py",
    "components/model_card",
    "components/radiograph_example_gen/manifest.py",
    "models/intervals.py",
    "schema/contract.py",
)
COMBINATION_CODE: Final = (
    "components/model_combiner",
    "components/seen_images.py",
    "models/calibration.py",
    "models/chunks.py",
    "models/combination.py",
    "models/explanation.py",
    "models/predictions.py",
    "models/signatures.py",
    "schema/contract.py",
)
REPORT_CODE: Final = (
    "components/evaluation_results.py",
    "components/report",
    "models/backbones.py",
    "models/calibration.py",
    "models/intervals.py",
    "serving/explained.py",
    "schema/contract.py",
)
AUDIT_CODE: Final = (
    "components/radiograph_example_gen/manifest.py",
    "components/shortcut_audit",
    "models/intervals.py",
    "schema/contract.py",
)
SPAN_DRIFT_CODE: Final = (
    "components/radiograph_example_gen/manifest.py",
    "components/radiograph_example_gen/span_facts.py",
    "components/report/drift.py",
    "components/report/images.py",
    "components/span_drift",
    "schema/contract.py",
)
