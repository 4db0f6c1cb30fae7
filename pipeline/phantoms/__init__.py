"""Synthetic chest X-ray phantoms: default data, test fixtures and benchmark load.

A phantom is a drawing made by a formula. It holds no patient's data, imitates no
particular radiograph and says nothing of how a model does on real images; every
file says so in its PNG text chunk and in a mark in its corner.
"""

from __future__ import annotations

from pipeline.phantoms.dataset import COMMENT, write_phantoms
from pipeline.phantoms.render import CLASSES, MAX_SIZE, MIN_SIZE, phantom

__all__ = ["CLASSES", "COMMENT", "MAX_SIZE", "MIN_SIZE", "phantom", "write_phantoms"]
