"""TFX's Evaluator, which may be given a baseline that there is not."""

from components.evaluator.component import Evaluator

__all__ = ["Evaluator"]
