"""Asks a version on trial what the stable one was asked; nobody waits for its answers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from serving.core.batching import Batcher
from serving.core.limits import check_rows, checked
from serving.core.manager import Manager
from serving.core.observing import Asked
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors
from serving.settings import Limits

LOGGER: Final = logging.getLogger("cxr.serving")
# The outcomes: observers were told; the server had enough to do; the version failed, or has gone.
ANSWERED: Final = "answered"
BUSY: Final = "busy"
FAILED: Final = "failed"
OUTCOMES: Final = (ANSWERED, BUSY, FAILED)
# Beyond this share of the queue, clients need the threads.
_QUEUE_SHARE: Final = 0.25


class Shadows:
    """The requests that are asked a second time. Its methods harm no request."""

    def __init__(
        self,
        manager: Manager,
        batcher: Batcher,
        limits: Limits,
        tell: Callable[[Asked, Tensors], None],
    ) -> None:
        """Start with nothing asked.

        Args:
            manager: of the versions.
            batcher: that computes.
            limits: of a request.
            tell: is told of each answer.
        """
        self._manager = manager
        self._batcher = batcher
        self._limits = limits
        self._tell = tell
        self._counts: Counter[tuple[str, str]] = Counter()

    def counts(self) -> dict[tuple[str, str], int]:
        """Count the requests so far, by model and outcome."""
        return dict(self._counts)

    def ask(self, asked: Asked) -> None:
        """Ask the version that a request's `lent.shadow` names; called once a client is answered.

        Args:
            asked: the request, as the stable version had it.
        """
        name = asked.lent.name
        if self._batcher.queued > _QUEUE_SHARE * self._limits.queue:
            self._counts[name, BUSY] += 1
            return
        with ExitStack() as kept:
            try:
                lent = kept.enter_context(
                    self._manager.borrow(ModelRef(name, version=asked.lent.shadow))
                )
                signature = lent.servable.signature(asked.signature.name)
                ready = asked.ready
                if lent.servable.rendering != asked.lent.servable.rendering:
                    ready = asked.inputs | checked(
                        asked.inputs, self._limits, lent.servable.rendering
                    )
                    ready = signature.filled(ready)
                    check_rows(ready, self._limits)
                answer = self._batcher.submit(
                    lent.servable,
                    signature.name,
                    ready,
                    asked.outputs,
                    seconds=self._limits.request_seconds,
                )
            except ServingError as error:
                self._failed(asked, error)
                return
            again = replace(asked, lent=lent, signature=signature, ready=ready, shadow=True)
            # The version is given back once it has answered.
            answer.add_done_callback(partial(self._answered, again, kept.pop_all()))

    def _answered(self, asked: Asked, kept: ExitStack, answer: Future[Tensors]) -> None:
        with kept:
            error = None if answer.cancelled() else answer.exception()
            if answer.cancelled() or error is not None:
                self._failed(asked, error)
                return
            self._counts[asked.lent.name, ANSWERED] += 1
            self._tell(asked, answer.result())

    def _failed(self, asked: Asked, error: BaseException | None) -> None:
        key = asked.lent.name, FAILED
        if not self._counts[key]:
            LOGGER.warning(
                "%s: the version that is asked beside the stable one fails: %s; the stable one "
                "answers on",
                asked.lent.name,
                error or "it was too late",
            )
        self._counts[key] += 1
