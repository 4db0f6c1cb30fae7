"""What a model is, how good, on which data, and what it is not for: beside the model."""

from components.model_card.component import ModelCard

__all__ = ["ModelCard"]
