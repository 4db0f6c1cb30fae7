"""An answer, and the model that gave it: those of the results' tests."""

from __future__ import annotations

from tests.serving.dicom_results.conftest import algorithm, answer, picture

__all__ = ["algorithm", "answer", "picture"]
