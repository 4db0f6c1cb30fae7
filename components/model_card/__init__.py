"""A card beside a model: what it is, how good, on which data, and what it is not for."""

from components.model_card.component import ModelCard

__all__ = ["ModelCard"]
