"""Finds the model that a candidate is measured against: among what was pushed."""

from components.baseline.component import Baseline

__all__ = ["Baseline"]
