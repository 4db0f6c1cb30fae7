"""Fixtures shared by all that look for a pushed version, and the Pusher's clock."""

from tests.components.pushed_versions.fixtures import places, push
from tests.components.serving_pusher.conftest import clock

__all__ = ["clock", "places", "push"]
