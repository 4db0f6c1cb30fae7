"""Finds the statistics of the images behind an earlier version."""

from components.previous_statistics.component import PreviousStatistics

__all__ = ["PreviousStatistics"]
