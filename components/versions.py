"""The programs that a model was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

_DISTRIBUTIONS: Final = ("cxr-tfx", "tfx", "tensorflow", "keras")


def versions() -> dict[str, str]:
    """Find each program's version, Python's included, by what is installed; nothing is imported.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them isn't installed: the tree was
            copied, not installed with `make setup` or pip.
    """
    return {name: version(name) for name in _DISTRIBUTIONS} | {"python": platform.python_version()}
