"""Finds the baseline where no metadata store can be asked: among what was pushed."""

from components.pushed_baseline.component import PushedBaseline

__all__ = ["PushedBaseline"]
