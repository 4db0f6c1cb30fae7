"""Chooses the best blessed model."""

from components.champion.component import Champion

__all__ = ["Champion"]
