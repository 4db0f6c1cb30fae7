"""Memory of models that are gone, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def give_back() -> None:
    """Free what nobody knows any more, and return it to the system.

    TensorFlow's objects know each other in circles, and Python may be slow to see that nobody else
    knows them. What is freed then stays with the C library: each thread that loads a model may have
    an arena of its own there, of which glibc returns nothing but the end. Twelve versions that
    could not be loaded kept 390 MiB of a server with a miniature model. Where it is not glibc, its
    part is left out.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
