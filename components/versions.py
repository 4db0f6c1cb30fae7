"""The programs that a model was made with."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Final

_DISTRIBUTIONS: Final = ("cxr-tfx", "tfx", "tensorflow", "keras")
# A DAG asks for each of its models.
_version: Final = functools.cache(version)


def versions() -> dict[str, str]:
    """Find each program's version, Python's included, by what is installed; nothing is imported.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them isn't installed: the tree was
            copied, not installed with `make setup` or pip.
    """
    return {name: _version(name) for name in _DISTRIBUTIONS} | {"python": platform.python_version()}
