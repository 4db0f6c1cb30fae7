"""Finds the model that training starts from where no metadata store can be asked."""

from components.pushed_previous.component import PushedPrevious

__all__ = ["PushedPrevious"]
