"""Pushes a model again where it is no longer the one that is served."""

from components.serving_pusher.component import ServingPusher

__all__ = ["ServingPusher"]
