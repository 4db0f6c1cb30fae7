"""Finds the statistics of an earlier run's images."""

from components.previous_statistics.strategy import LatestOtherStatisticsStrategy

__all__ = ["LatestOtherStatisticsStrategy"]
