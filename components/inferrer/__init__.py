"""A model's answers on the test split."""

from components.inferrer.component import Inferrer

__all__ = ["Inferrer"]
