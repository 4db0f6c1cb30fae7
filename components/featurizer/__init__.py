"""Runs a backbone's frozen prefix once an image."""

from components.featurizer.component import Featurizer

__all__ = ["Featurizer"]
