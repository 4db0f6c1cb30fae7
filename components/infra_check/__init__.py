"""Serves a candidate before it is pushed, and looks at its answers."""

from components.infra_check.component import InfraCheck

__all__ = ["InfraCheck"]
