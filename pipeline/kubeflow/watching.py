"""Follows a run until it ends: the states of its steps, and outages of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from pipeline.kubeflow.api_errors import ApiError

SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
NOT_RUN: Final = "not run"
_CANCELING: Final = "CANCELING"
_PENDING: Final = "PENDING"
# What the API says, or leaves out, of a step that Argo has omitted.
_UNSPECIFIED: Final = "RUNTIME_STATE_UNSPECIFIED"
# What kfp.Client holds for final, and CANCELED, for which it would wait for ever.
_FINAL: Final = frozenset({SUCCEEDED, FAILED, "SKIPPED", "CANCELED", "ERROR"})
_LAST_PAUSE: Final = 5.0


@dataclass(frozen=True)
class Step:
    """A task of the IR in a run, at one moment.

    Attributes:
        name: as the IR calls it.
        state: PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED, …, or NOT_RUN.
        seconds: how long it has been running; None before it starts.
    """

    name: str
    state: str
    seconds: float | None

    @property
    def ended(self) -> bool:
        """True where nothing more will come of it."""
        return self.state in _FINAL or self.state == NOT_RUN


@dataclass(frozen=True)
class End:
    """The way a run ended.

    Attributes:
        state: in the API's words.
        steps: one for each task of the IR.
        cancelled: whether it was stopped; its state is FAILED then.
    """

    state: str
    steps: list[Step]
    cancelled: bool


class Screen(Protocol):
    """The interface of a screen that shows the progress."""

    def say(self, line: str) -> None:
        """Take a line."""

    def changed(self, step: Step) -> None:
        """Take a step whose state is new."""

    def waiting(self, state: str, done: int, total: int) -> None:
        """Take the run's state and how many of its steps have ended."""


@dataclass(frozen=True)
class Pace:
    """The pace of asking, and its limit. All times are seconds.

    Attributes:
        poll: between two questions.
        timeout: the run isn't watched for longer; None for no limit.
        patience: how long an outage may last.
        longest_pause: between two tries in an outage.
        sleep, clock: to be replaced in tests.
    """

    poll: float = 5
    timeout: float | None = None
    patience: float = 300
    longest_pause: float = 30
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def watch(ask: Callable[[], Any], tasks: Collection[str], screen: Screen, pace: Pace) -> End:
    """Wait until a run has ended.

    Args:
        ask: hands over the run as it is now; raises ApiError.
        tasks: the IR's.
        screen: is told of each change.
        pace: how often and how long.

    Raises:
        ApiError: an error that doesn't pass, or an outage longer than `pace.patience`.
        TimeoutError: the run has not ended within `pace.timeout`.
    """
    started = pace.clock()
    known = dict.fromkeys(tasks, _PENDING)
    cancelled = False
    while True:
        run = _patiently(ask, screen, pace, started)
        state = (run.state or _PENDING).upper()
        if state in _FINAL:
            run = _once_more(ask, run, pace)
        cancelled = cancelled or _CANCELING in {state, *map(_state, run.state_history or [])}
        steps = steps_of(run, tasks)
        for step in steps:
            if known[step.name] != step.state:
                known[step.name] = step.state
                # Behind a failure that is most of them, at once: the table says it.
                if step.state != NOT_RUN:
                    screen.changed(step)
        if state in _FINAL:
            return End(state, steps, cancelled)
        screen.waiting(state, sum(step.ended for step in steps), len(steps))
        _pause(pace.poll, pace, started)


def steps_of(run: Any, tasks: Collection[str]) -> list[Step]:
    """List the IR's tasks as they stand, in the order of their start.

    The server tells of Argo's nodes: a task `x` is `x-driver`, then `x`; its pods are `executor`
    and, where it may be tried again, `executor(0)`, whoever's they are. A task whose turn has not
    come is no node yet. Entries without a name are rows of KFP's cache.

    Args:
        run: as kfp_server_api hands it over.
        tasks: the IR's.
    """
    entries = (run.run_details and run.run_details.task_details) or []
    nodes = {entry.display_name: entry for entry in entries if entry.display_name}
    over = _state(run) in _FINAL
    order = sorted(tasks, key=lambda task: _start(nodes.get(task)))
    return [_step(task, nodes.get(task), nodes.get(f"{task}-driver"), over) for task in order]


def _step(task: str, node: Any, driver: Any, over: bool) -> Step:
    state, before = (_state(each) if each else _PENDING for each in (node, driver))
    if state in (_PENDING, NOT_RUN) and before in (FAILED, NOT_RUN):
        state = before
    if over and state == _PENDING:
        state = NOT_RUN
    return Step(task, state, _seconds(node, state))


def _state(thing: Any) -> str:
    """Return the state of a run or a node; NOT_RUN where the server says none."""
    state = (thing.state or _UNSPECIFIED).upper()
    return NOT_RUN if state == _UNSPECIFIED else state


def _patiently(ask: Callable[[], Any], screen: Screen, pace: Pace, started: float) -> Any:
    outage_began: float | None = None
    pause = pace.poll
    while True:
        try:
            run = ask()
        except ApiError as error:
            if not error.passing:
                raise
            now = pace.clock()
            if outage_began is None:
                outage_began = now
                minutes = pace.patience / 60
                screen.say(f"{error} Trying again for up to {minutes:.0f} minutes.")
            elif now - outage_began > pace.patience:
                raise
            _pause(pause, pace, started)
            pause = min(max(pause * 2, 0.001), pace.longest_pause)
        else:
            if outage_began is not None:
                screen.say("The API server answers again.")
            return run


def _once_more(ask: Callable[[], Any], run: Any, pace: Pace) -> Any:
    """Read the run a moment later: the server writes its state first, then those of its steps."""
    pace.sleep(min(pace.poll, _LAST_PAUSE))
    try:
        return ask()
    except ApiError:
        return run


def _pause(seconds: float, pace: Pace, started: float) -> None:
    if pace.timeout is None:
        pace.sleep(seconds)
        return
    left = pace.timeout - (pace.clock() - started)
    if left <= 0:
        raise TimeoutError(f"the run has not ended within {pace.timeout:g} s")
    pace.sleep(min(seconds, left))


def _real(moment: datetime | None) -> datetime | None:
    """Read a time; None where the server writes 1970, or Argo the year 1: they mean never."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _start(node: Any) -> float:
    start = _real(node.start_time) if node else None
    return start.timestamp() if start else float("inf")


def _seconds(node: Any, state: str) -> float | None:
    start, end = (_real(node.start_time), _real(node.end_time)) if node else (None, None)
    if start is None or state in (_PENDING, NOT_RUN) or (end is None and state in _FINAL):
        return None
    return max(0.0, ((end or datetime.now(timezone.utc)) - start).total_seconds())
