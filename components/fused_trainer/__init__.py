"""Fits one head to the features of several backbones: one more candidate."""

from components.fused_trainer.component import FusedTrainer

__all__ = ["FusedTrainer"]
