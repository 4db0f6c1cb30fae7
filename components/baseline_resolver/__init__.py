"""Finds the model that a candidate is measured against."""

from components.baseline_resolver.strategy import LatestOtherBlessedStrategy

__all__ = ["LatestOtherBlessedStrategy"]
