"""Beam finds out about methods what it found before, and asks each of them once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.runners.common import DoFnSignature
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core, userstate
from apache_beam.transforms.userstate import BagStateSpec

from common.beam_signatures import remember_signatures

_SEEN = BagStateSpec("seen", VarIntCoder())


class _Counting(beam.DoFn):
    """Numbers the elements of each key."""

    def process(
        self,
        element: tuple[str, int],
        seen: Any = beam.DoFn.StateParam(_SEEN),  # noqa: B008 - Beam's way to say it
    ) -> Iterator[int]:
        seen.add(1)
        yield len(list(seen.read()))


class _Other(_Counting):
    def process(self, element: Any, *rest: Any, window: Any = beam.DoFn.WindowParam) -> None:  # type: ignore[override]
        pass


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return call


class _Decorated(beam.DoFn):
    process = _wrapped(_Counting.process)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Beam's own function, which is in its place again; it is put back as it was at the end."""
    found = core.get_function_args_defaults
    original = inspect.unwrap(found)
    monkeypatch.setattr(core, "get_function_args_defaults", original)
    return original


@pytest.mark.parametrize("dofn", [_Counting(), _Other(), _Decorated(), beam.Map(len).fn])
def test_what_is_found_is_what_beam_finds(plain: Callable[..., Any], dofn: beam.DoFn) -> None:
    methods = [
        getattr(dofn, name)
        for name in dir(dofn)
        if inspect.ismethod(getattr(dofn, name)) or inspect.isfunction(getattr(dofn, name))
    ]
    before = [plain(method) for method in methods]
    remember_signatures()
    for _ in range(2):
        for method, expected in zip(methods, before, strict=True):
            names, defaults = core.get_function_args_defaults(method)
            assert (names, defaults) == expected
            # The next one must not see what this one does with its lists.
            names.clear()
            defaults.append("more")
    assert len(methods) > 5


def test_state_is_found_and_counts(plain: Callable[..., Any]) -> None:
    remember_signatures()
    for _ in range(2):
        assert userstate.get_dofn_specs(_Counting()) == ({_SEEN}, set())
        assert userstate.get_dofn_specs(_Other()) == (set(), set())
        assert DoFnSignature(_Counting()).is_stateful_dofn()
    with beam.Pipeline() as pipeline:
        numbers = pipeline | beam.Create([("a", 1), ("a", 2), ("b", 3)]) | beam.ParDo(_Counting())
        assert_that(numbers, equal_to([1, 1, 2]))


def test_a_method_is_looked_at_once_and_the_second_call_changes_nothing(
    plain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def counting(method: Any) -> Any:
        asked.append(method)
        return plain(method)

    monkeypatch.setattr(core, "get_function_args_defaults", counting)
    remember_signatures()
    remembering = core.get_function_args_defaults
    for _ in range(3):
        remembering(_Counting().process)
    assert len(asked) == 1
    # A function may be made anew for each call: nothing is kept of it.
    for _ in range(3):
        remembering(lambda element: element)
    assert len(asked) == 4
    remember_signatures()
    assert core.get_function_args_defaults is remembering


def test_a_beam_without_the_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(core, "get_function_args_defaults")
    remember_signatures()
    assert not hasattr(core, "get_function_args_defaults")
