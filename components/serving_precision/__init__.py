"""Chooses the precision in which a model is to be served; int8 where it pays."""

from components.serving_precision.component import ServingPrecision

__all__ = ["ServingPrecision"]
