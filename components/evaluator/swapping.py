"""Parts of TFMA that a block of code does without: its own are back behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import tensorflow_model_analysis as tfma


@contextlib.contextmanager
def swapped(versions: Collection[str], *places: tuple[object, str, Any]) -> Iterator[None]:
    """Have TFMA use other parts inside the block, where it is one of some versions.

    Args:
        versions: those for which the parts were compared; another's are left as they are.
        places: module or function, the attribute's name, and what it is inside the block.
    """
    taken = places if tfma.version.VERSION in versions else ()
    own = [getattr(where, name) for where, name, _ in taken]
    for where, name, other in taken:
        setattr(where, name, other)
    try:
        yield
    finally:
        for (where, name, _), value in zip(taken, own, strict=True):
            setattr(where, name, value)
