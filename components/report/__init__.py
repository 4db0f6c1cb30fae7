"""One page that tells a person whether to trust the models.

The node is looked up on first use: a process that draws figures (`components.report.beside`) has
nothing to do with TFX.
"""

from typing import Any

__all__ = ["Report"]


def __getattr__(name: str) -> Any:
    if name != "Report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from components.report.component import Report

    return Report
