"""Finds the model that training starts from: among what was pushed."""

from components.previous_model.component import PreviousModel

__all__ = ["PreviousModel"]
