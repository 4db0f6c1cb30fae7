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
from pipeline.kubeflow.watching import Pace, Step, state_of, steps_of, watch

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
PASSING = ApiError("gone.", status=None, passing=True)


def a_task(name: str, state: str | None, **more: Any) -> SimpleNamespace:
    fields = {
        "task_id": None,
        "display_name": name,
        "create_time": NOON,
        "start_time": NOON,
        "end_time": NEVER,
        "state": state,
        "error": None,
        "state_history": None,
        "pod_name": None,
        "child_tasks": None,
    }
    return SimpleNamespace(**{**fields, **more})


def a_run(state: str | None, *tasks: SimpleNamespace) -> SimpleNamespace:
    details = SimpleNamespace(task_details=list(tasks)) if tasks else None
    return SimpleNamespace(state=state, run_details=details, error=None, state_history=None)


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
    good, end = a_run("RUNNING"), a_run("SUCCEEDED")
    run, steps = watch(asking([good, *[PASSING] * 5, good, PASSING, end]), [], notes, clock.pace())
    assert (run, steps) == (end, [])
    assert clock.pauses == [5, 5, 10, 20, 30, 30, 5, 5]
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


def test_each_change_is_told_once_and_apart_for_steps_of_one_name() -> None:
    notes = Notes()
    first = [a_task("A", "RUNNING", task_id="1"), a_task("A", None, task_id="2", start_time=NEVER)]
    second = [a_task("A", "RUNNING", task_id="1"), a_task("A", "RUNNING", task_id="2")]
    runs = [a_run(None), a_run("RUNNING", *first), a_run("RUNNING", *second)]
    watch(asking([*runs, a_run("FAILED", *second)]), ["A"], notes, Clock().pace())
    assert notes.changes == [("A", "RUNNING"), ("A", "PENDING"), ("A", "RUNNING")]


def test_only_the_irs_own_steps_are_shown_unless_others_fail_or_there_is_nothing_else() -> None:
    root = a_task("root", "RUNNING")
    driver = a_task("trainer-vgg16-driver", "SUCCEEDED")
    own = a_task("trainer-vgg16", "RUNNING")
    names = {"Trainer.vgg16"}
    assert [s.name for s in steps_of(a_run("RUNNING", root, driver, own), names)] == [
        own.display_name
    ]
    assert [s.name for s in steps_of(a_run("RUNNING", root, driver), names)] == [
        "root",
        "trainer-vgg16-driver",
    ]
    driver.state = "FAILED"
    shown = steps_of(a_run("RUNNING", root, driver, own), names)
    assert [(s.name, s.own) for s in shown] == [
        ("trainer-vgg16-driver", False),
        ("trainer-vgg16", True),
    ]


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        (a_task("a", "SUCCEEDED", end_time=NOON + timedelta(seconds=2.5)), 2.5),
        (a_task("a", "SUCCEEDED", end_time=NOON - timedelta(seconds=2)), 0.0),
        (a_task("a", "SUCCEEDED", end_time=None), None),
        (a_task("a", "PENDING"), None),
        (a_task("a", "RUNTIME_STATE_UNSPECIFIED"), None),
        (a_task("a", "RUNNING", start_time=None), None),
        (a_task("a", "RUNNING", start_time=datetime(2999, 1, 1)), 0.0),
    ],
)
def test_seconds_are_the_steps_own(task: SimpleNamespace, seconds: float | None) -> None:
    (step,) = steps_of(a_run("RUNNING", task), [])
    assert step.seconds == seconds


def test_a_state_that_is_not_there_yet_is_pending() -> None:
    assert state_of(a_run(None)) == "PENDING"
    assert state_of(a_run("RUNTIME_STATE_UNSPECIFIED")) == "PENDING"


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
