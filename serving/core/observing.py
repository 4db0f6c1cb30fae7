"""A request that was answered, as those see it who count or log it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.core.manager import Lent
from serving.protocol.tensors import Tensors
from serving.servables.servable import Signature


@dataclass(frozen=True, eq=False)
class Asked:
    """A request, once it is known to fit.

    Attributes:
        lent: whom it asks. The servable may be gone by the time that this is looked at.
        signature: of it.
        method: of the API by which it came: PREDICT, CLASSIFY or REGRESS.
        inputs: name -> value, as the client sent it.
        ready: the same, as the model sees it: images of other formats are PNGs there.
        outputs: wanted; all where empty.
        shadow: whether no client gets the answer: it is asked for to be compared.
    """

    lent: Lent
    signature: Signature
    method: str
    inputs: Tensors
    ready: Tensors
    outputs: Sequence[str] = ()
    shadow: bool = False


# (request, answer): called once an answer is there, by the thread that computed it, so it has to
# return at once. What it raises harms no request.
Observer = Callable[[Asked, Tensors], None]
