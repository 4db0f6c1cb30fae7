"""Following a run: pauses in an outage, what is shown of the steps, the spinner."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import rich.console

from pipeline.kubeflow import submit_screen
from pipeline.kubeflow.api_errors import ApiError
from pipeline.kubeflow.watching import NOT_RUN, End, Pace, Step, steps_of, watch

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
PASSING = ApiError("gone.", status=None, passing=True)


def a_node(name: str | None, state: str | None, **more: Any) -> SimpleNamespace:
    """As kfp_server_api hands it over."""
    fields = {"display_name": name, "start_time": NOON, "end_time": NEVER, "state": state}
    return SimpleNamespace(**{**fields, **more})


def a_run(state: str | None, *nodes: SimpleNamespace) -> SimpleNamespace:
    details = SimpleNamespace(task_details=list(nodes)) if nodes else None
    return SimpleNamespace(state=state, run_details=details, state_history=None)


class Notes:
    """A screen that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.changes: list[tuple[str, str]] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def changed(self, step: Step) -> None:
        self.changes.append((step.name, step.state))

    def waiting(self, state: str, done: int, total: int) -> None:
        assert done <= total


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def pace(self, **more: Any) -> Pace:
        return Pace(sleep=self.sleep, clock=lambda: self.now, **more)


def asking(answers: Sequence[Any]) -> Any:
    left: Iterator[Any] = iter(answers)

    def ask() -> Any:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_pauses_grow_in_an_outage_and_each_outage_is_said_once() -> None:
    notes, clock = Notes(), Clock()
    good, last = a_run("RUNNING"), a_run("SUCCEEDED")
    answers = [good, *[PASSING] * 5, good, PASSING, last, last]
    end = watch(asking(answers), [], notes, clock.pace())
    assert end == End("SUCCEEDED", [], cancelled=False)
    assert clock.pauses == [5, 5, 10, 20, 30, 30, 5, 5, 5]
    again = "The API server answers again."
    trying = "gone. Trying again for up to 5 minutes."
    assert notes.said == [trying, again, trying, again]


def test_an_outage_that_does_not_end_is_an_error_after_five_minutes() -> None:
    notes, clock = Notes(), Clock()
    with pytest.raises(ApiError, match="gone"):
        watch(asking([PASSING] * 100), [], notes, clock.pace())
    assert 300 < clock.now <= 330
    assert len(notes.said) == 1


def test_what_does_not_pass_is_not_tried_again() -> None:
    clock = Clock()
    denied = ApiError("denied", status=401, passing=False)
    with pytest.raises(ApiError, match="denied"):
        watch(asking([denied]), [], Notes(), clock.pace())
    assert clock.pauses == []


@pytest.mark.parametrize("answer", [a_run("RUNNING"), PASSING])
def test_the_time_limit_holds_in_an_outage_too(answer: Any) -> None:
    clock = Clock()
    with pytest.raises(TimeoutError, match="within 12 s"):
        watch(asking([answer] * 100), [], Notes(), clock.pace(timeout=12))
    assert clock.now == 12


def test_each_change_is_told_once_and_the_look_after_the_end_counts() -> None:
    notes, clock = Notes(), Clock()
    running = a_run("RUNNING", a_node("a", "RUNNING"))
    stale, right = (a_run("SUCCEEDED", a_node("a", s)) for s in ("RUNNING", "SUCCEEDED"))
    answers = asking([a_run(None), running, running, stale, right])
    end = watch(answers, ["a"], notes, clock.pace(poll=60))
    assert notes.changes == [("a", "RUNNING"), ("a", "SUCCEEDED")]
    assert [step.state for step in end.steps] == ["SUCCEEDED"]
    # Nobody waits a long time for it.
    assert clock.pauses == [60, 60, 60, 5]


def test_a_look_after_the_end_that_fails_leaves_what_was_known() -> None:
    run = a_run("FAILED", a_node("a", "FAILED"))
    end = watch(asking([run, PASSING]), ["a"], Notes(), Clock().pace(timeout=1))
    assert (end.state, [step.state for step in end.steps]) == ("FAILED", ["FAILED"])


@pytest.mark.parametrize("by_history", [False, True])
def test_a_run_that_was_cancelled_is_known_though_it_failed(by_history: bool) -> None:
    end = a_run("FAILED")
    if by_history:
        end.state_history = [SimpleNamespace(state=s) for s in ("RUNNING", "CANCELING", None)]
    answers = [a_run("RUNNING" if by_history else "CANCELING"), end, end]
    assert watch(asking(answers), [], Notes(), Clock().pace()).cancelled


@pytest.mark.parametrize(
    ("driver", "node", "running", "ended"),
    [
        # Its turn has not come; its driver is at work.
        (None, None, "PENDING", NOT_RUN),
        ("RUNNING", None, "PENDING", NOT_RUN),
        ("SUCCEEDED", None, "PENDING", NOT_RUN),
        ("SUCCEEDED", "PENDING", "PENDING", NOT_RUN),
        ("SUCCEEDED", "RUNNING", "RUNNING", "RUNNING"),
        ("SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"),
        ("SUCCEEDED", "FAILED", "FAILED", "FAILED"),
        # Behind a failure Argo omits both.
        ("", "", NOT_RUN, NOT_RUN),
        ("RUNTIME_STATE_UNSPECIFIED", "RUNTIME_STATE_UNSPECIFIED", NOT_RUN, NOT_RUN),
        ("", None, NOT_RUN, NOT_RUN),
        # The driver itself may fail.
        ("FAILED", "", "FAILED", "FAILED"),
        ("FAILED", None, "FAILED", "FAILED"),
    ],
)
def test_a_task_is_its_node_or_where_that_says_nothing_its_driver(
    driver: str | None, node: str | None, running: str, ended: str
) -> None:
    names = {"a-driver": driver, "a": node}
    nodes = [a_node(name, state or None) for name, state in names.items() if state is not None]
    others = [
        a_node("chest-x7k2p", "RUNNING"),
        a_node("root", "RUNNING"),
        a_node("executor", "SUCCEEDED"),
        a_node("executor(0)", "FAILED"),
        a_node(None, None),
        a_node("", None),
    ]
    for state, expected in (("RUNNING", running), ("FAILED", ended)):
        (step,) = steps_of(a_run(state, *others, *nodes), ["a"])
        assert (step.name, step.state) == ("a", expected)
        assert step.ended == (expected in (NOT_RUN, "SUCCEEDED", "FAILED"))


def test_steps_stand_in_the_order_of_their_start() -> None:
    late = a_node("a", "RUNNING", start_time=NOON + timedelta(seconds=1))
    # Argo's zero is the year 1.
    never = a_node("b", None, start_time=datetime(1, 1, 1, tzinfo=timezone.utc))
    run = a_run("RUNNING", never, late, a_node("c", "SUCCEEDED"))
    assert [step.name for step in steps_of(run, ["a", "b", "c", "d"])] == ["c", "a", "b", "d"]


@pytest.mark.parametrize(
    ("node", "seconds"),
    [
        (a_node("a", "SUCCEEDED", end_time=NOON + timedelta(seconds=2.5)), 2.5),
        (a_node("a", "SUCCEEDED", end_time=NOON - timedelta(seconds=2)), 0.0),
        (a_node("a", "SUCCEEDED", end_time=None), None),
        (a_node("a", "PENDING"), None),
        (a_node("a", "RUNTIME_STATE_UNSPECIFIED"), None),
        (a_node("a", None), None),
        (a_node("a", "RUNNING", start_time=None), None),
        (a_node("a", "RUNNING", start_time=datetime(2999, 1, 1)), 0.0),
        (a_node("b", "RUNNING"), None),
    ],
)
def test_seconds_are_the_steps_own(node: SimpleNamespace, seconds: float | None) -> None:
    (step,) = steps_of(a_run("RUNNING", node), ["a"])
    assert step.seconds == seconds


def test_on_a_terminal_a_spinner_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen_text = io.StringIO()
    console = rich.console.Console(file=screen_text, force_terminal=True, width=100)
    monkeypatch.setattr(submit_screen, "open_console", lambda: console)
    screen = submit_screen.SubmitScreen()
    screen.waiting("RUNNING", 1, 7)
    screen.waiting("RUNNING", 2, 7)
    screen.stop()
    screen.stop()
    assert "run RUNNING, 2 of 7 steps ended" in screen_text.getvalue()
