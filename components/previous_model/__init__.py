"""Finds the model that training starts from."""

from components.previous_model.strategy import LatestModelOnOtherImagesStrategy

__all__ = ["LatestModelOnOtherImagesStrategy"]
