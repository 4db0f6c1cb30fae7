"""Puts the backbones' models together into one more candidate."""

from components.model_combiner.component import ModelCombiner

__all__ = ["ModelCombiner"]
