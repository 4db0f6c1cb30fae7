"""Follows a run until it ends: the states of its steps, and outages of the server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from pipeline.kubeflow.api_errors import ApiError, one_line

SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
# What kfp.Client holds for final, and CANCELED, for which it would wait for ever.
_FINAL: Final = frozenset({SUCCEEDED, FAILED, "SKIPPED", "CANCELED", "ERROR"})
_UNKNOWN: Final = "PENDING"


@dataclass(frozen=True)
class Step:
    """A step of a run, at one moment.

    Attributes:
        key: tells it from others of the same name.
        name: as the IR calls it, or the backend for what it adds.
        state: PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED, …
        seconds: how long it has been running; None before it starts.
        error: what the server knows of its failure, or "".
        pods: names of its pods, as far as the server tells.
        own: whether the IR has it; the backend adds drivers, for instance.
    """

    key: str
    name: str
    state: str
    seconds: float | None
    error: str
    pods: tuple[str, ...]
    own: bool

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.state in (FAILED, "ERROR")


class Screen(Protocol):
    """Who shows the progress."""

    def say(self, line: str) -> None:
        """Takes a line."""

    def changed(self, step: Step) -> None:
        """Takes a step whose state is new."""

    def waiting(self, state: str, done: int, total: int) -> None:
        """Takes the run's state and how many of its steps have ended."""


@dataclass(frozen=True)
class Pace:
    """How often to ask, and for how long. All times are seconds.

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


def watch(
    ask: Callable[[], Any], own_names: Collection[str], screen: Screen, pace: Pace
) -> tuple[Any, list[Step]]:
    """Waits until a run has ended.

    Args:
        ask: hands over the run as it is now; raises ApiError.
        own_names: the IR's task names.
        screen: is told of each change.
        pace: how often and how long.

    Returns:
        The run at its end, and its steps.

    Raises:
        ApiError: an error that doesn't pass, or an outage longer than `pace.patience`.
        TimeoutError: the run has not ended within `pace.timeout`.
    """
    started = pace.clock()
    known: dict[str, str] = {}
    while True:
        run = _patiently(ask, screen, pace, started)
        steps = steps_of(run, own_names)
        for step in steps:
            if known.get(step.key) != step.state:
                known[step.key] = step.state
                screen.changed(step)
        state = state_of(run)
        if state in _FINAL:
            return run, steps
        ended = sum(step.state in _FINAL for step in steps)
        screen.waiting(state, ended, max(len(own_names), len(steps)))
        _pause(pace.poll, pace, started)


def state_of(thing: Any) -> str:
    """The state of a run or a task in the API's words; PENDING where it has none yet."""
    state = (thing.state or _UNKNOWN).upper()
    return _UNKNOWN if state == "RUNTIME_STATE_UNSPECIFIED" else state


def steps_of(run: Any, own_names: Collection[str]) -> list[Step]:
    """The run's steps in the order of their start.

    Of what the backend adds (`root`, drivers, executors), only what failed is kept; all of it
    where no name is one of the IR's.

    Args:
        run: as kfp_server_api hands it over.
        own_names: the IR's task names.
    """
    details = (run.run_details and run.run_details.task_details) or []
    own = {_plain(name) for name in own_names}
    steps = [_step(task, own) for task in sorted(details, key=_order)]
    if not any(step.own for step in steps):
        return steps
    return [step for step in steps if step.own or step.failed]


def error_of(thing: Any) -> str:
    """What the server says about the failure of a run or a task, in one line; "" if nothing."""
    errors = [thing.error, *(status.error for status in thing.state_history or [])]
    words = [one_line(error.message) for error in errors if error and error.message]
    return "; ".join(dict.fromkeys(words))


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


def _pause(seconds: float, pace: Pace, started: float) -> None:
    if pace.timeout is None:
        pace.sleep(seconds)
        return
    left = pace.timeout - (pace.clock() - started)
    if left <= 0:
        raise TimeoutError(f"the run has not ended within {pace.timeout:g} s")
    pace.sleep(min(seconds, left))


def _step(task: Any, own: Collection[str]) -> Step:
    name = task.display_name or task.task_id or "?"
    children = [child.pod_name for child in task.child_tasks or []]
    return Step(
        key=task.task_id or name,
        name=name,
        state=state_of(task),
        seconds=_seconds(task),
        error=error_of(task),
        pods=tuple(pod for pod in dict.fromkeys([task.pod_name, *children]) if pod),
        own=_plain(name) in own,
    )


def _plain(name: str) -> str:
    """A task's name as Kubernetes could spell it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _real(moment: datetime | None) -> datetime | None:
    """The server writes 1970 where it means never."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _order(task: Any) -> tuple[bool, float]:
    moment = _real(task.start_time) or _real(task.create_time)
    return moment is None, moment.timestamp() if moment else 0.0


def _seconds(task: Any) -> float | None:
    start, end = _real(task.start_time), _real(task.end_time)
    if start is None or state_of(task) == _UNKNOWN:
        return None
    if end is None and state_of(task) in _FINAL:
        return None
    return max(0.0, ((end or datetime.now(timezone.utc)) - start).total_seconds())


def failed_first(steps: Iterable[Step]) -> list[Step]:
    """The failed steps: those with a message, then the others."""
    return sorted((step for step in steps if step.failed), key=lambda step: not step.error)
