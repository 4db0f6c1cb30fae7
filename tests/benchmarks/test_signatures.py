"""The bench of remembered signatures runs its job in turns, and puts Beam back as it was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.signatures import _job, measure


def test_the_ways_take_turns() -> None:
    core = SimpleNamespace(get_function_args_defaults="Beam's")
    seen: list[object] = []
    ways = {"a": len, "b": repr}
    found = measure(ways, core, lambda: seen.append(core.get_function_args_defaults), 2)
    assert seen == ["Beam's", len, repr, len, repr]
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}
    assert core.get_function_args_defaults == "Beam's"


@pytest.mark.long
def test_the_job_is_one_that_tfma_takes() -> None:
    _job()()
