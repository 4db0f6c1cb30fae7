"""Chooses the best blessed backbone."""

from components.champion.component import Champion

__all__ = ["Champion"]
