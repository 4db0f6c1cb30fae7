"""Trains from where an earlier model ended."""

from components.continued_trainer.component import ContinuedTrainer

__all__ = ["ContinuedTrainer"]
