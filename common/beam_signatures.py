"""Keep Beam from looking at the signature of one and the same method again and again.

Beam asks each DoFn for its state and timers whenever it builds, validates, writes, reads or runs a
stage, and each time goes through the signatures of all its methods: 44,000 calls of
`inspect.signature` in one TFMA job on 40 images, a quarter of its CPU seconds
(`make bench-signatures`, docs/benchmarks.md). A method's signature doesn't change, so it is
looked at once.
"""

from __future__ import annotations

import functools
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

_Described = tuple[list[str], list[Any]]


def remember_signatures() -> None:
    """Have Beam's `get_function_args_defaults` remember what it found for a method.

    Only of bound methods that are plain functions of a class: what Beam makes of them depends on
    the function alone. All else is asked anew. A second call does nothing. A Beam that has no such
    function any more (2.74 and 2.77 have it) is left as it is.
    """
    from apache_beam.transforms import core

    look = getattr(core, "get_function_args_defaults", None)
    if look is None or hasattr(look, "remembers"):
        return
    known: WeakKeyDictionary[FunctionType, _Described] = WeakKeyDictionary()

    @functools.wraps(look)
    def remembering(method: Any) -> _Described:
        function = method.__func__ if type(method) is MethodType else None
        if type(function) is not FunctionType:
            found: _Described = look(method)
            return found
        if function not in known:
            known[function] = look(method)
        names, defaults = known[function]
        # The caller may change its lists.
        return list(names), list(defaults)

    remembering.remembers = True  # type: ignore[attr-defined]
    core.get_function_args_defaults = remembering
