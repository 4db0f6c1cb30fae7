"""Fixtures shared by all that look for a pushed version."""

from tests.components.pushed_versions.fixtures import places, push

__all__ = ["places", "push"]
