"""The lineage that the baseline's tests have, too."""

from tests.components.baseline_resolver.conftest import lineage

__all__ = ["lineage"]
