"""What `cxr runs diff` finds, in stores that ml_metadata made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import InputError
from pipeline.runs.diff import Change, Diff, Pair, choose, diff
from pipeline.runs.record import record_of
from pipeline.runs.store import Run, read_runs

if TYPE_CHECKING:
    from tests.pipeline.runs.conftest import Runs

FIRST, SECOND, THIRD = "2026-01-02T03:04:05.1", "2026-01-02T03:05:06.2", "2026-01-03T00:00:00.3"


def compare(runs: Runs, a: int = 0, b: int = 1) -> Diff:
    """Two runs, by their number."""
    layout = runs.store.layout
    found = [record_of(run, layout) for run in read_runs(layout)]
    return diff(found[a], found[b])


def test_two_equal_runs_differ_in_nothing(runs: Runs) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    found = compare(runs)
    assert (found.choices, found.code, found.pairs) == ((), (), {})
    assert set(found.nodes.values()) == {("executed", "executed"), ("resolved", "resolved")}
    assert found.to_json()["same_data"] is True


def test_fields_that_changed_are_named_with_the_nodes_that_have_them(runs: Runs) -> None:
    first = runs.store.begin(FIRST)
    runs.example_gen(first)
    runs.evaluator(first, runs.trainer(first), correct=9)
    second = runs.store.begin(SECOND)
    runs.example_gen(second)
    model = runs.trainer(second, learning_rate=0.002, code="c9")
    runs.evaluator(second, model, correct=8, min_accuracy=0.5)
    found = compare(runs)
    assert found.choices == (
        Change("training.learning_rate", ("Trainer.tiny",), {"a": 0.001, "b": 0.002}),
        Change("gate.min_accuracy", ("Evaluator.tiny",), {"a": 0.8999999165534973, "b": 0.5}),
    )
    assert found.code == (Change("code_digest", ("Trainer.tiny",), {"a": "c1", "b": "c9"}),)
    assert found.to_json()["properties"][0] == {
        **{"field": "training.learning_rate", "nodes": ["Trainer.tiny"]},
        **{"a": 0.001, "b": 0.002},
    }


def test_the_same_change_in_several_nodes_is_one(runs: Runs) -> None:
    for run_id, seed, extra in ((FIRST, 1, {}), (SECOND, 2, {"taps": "[]"})):
        run = runs.store.begin(run_id)
        for node in ("Featurizer.a", "Featurizer.b"):
            runs.store.node(run, node, properties={"seed": seed, **extra})
        runs.store.node(run, "Champion", properties={"seed": seed + 1})
    assert compare(runs).choices == (
        Change("seed", ("Featurizer.a", "Featurizer.b"), {"a": 1, "b": 2}),
        Change("taps", ("Featurizer.a", "Featurizer.b"), {"b": []}),
        Change("seed", ("Champion",), {"a": 2, "b": 3}),
    )


def test_what_is_only_noted_down_of_executed_nodes_is_no_difference(runs: Runs) -> None:
    first, second = runs.store.begin(FIRST), runs.store.begin(SECOND)
    runs.store.node(first, "Trainer.a", properties={"seed": 1, "fingerprint": "f"})
    runs.store.node(second, "Trainer.a", "CACHED", properties={"seed": 1})
    assert compare(runs).choices == compare(runs, 1, 0).choices == ()


def test_a_node_that_only_one_run_has_is_the_difference_itself(runs: Runs) -> None:
    first, second = runs.store.begin(FIRST), runs.store.begin(SECOND)
    runs.store.node(first, "Trainer.a", properties={"seed": 1})
    runs.store.node(second, "Tuner.a", "CACHED", properties={"seed": 1})
    found = compare(runs)
    assert found.choices == ()
    assert found.nodes == {"Trainer.a": ("executed", None), "Tuner.a": (None, "cached")}


@pytest.mark.parametrize("swapped", [False, True])
def test_images_of_only_one_are_known_where_one_is_the_others_baseline(
    runs: Runs, swapped: bool
) -> None:
    baseline = runs.whole(FIRST, correct=8)
    run = runs.store.begin(SECOND)
    runs.example_gen(run)
    runs.evaluator(run, runs.trainer(run), correct=9, baseline=baseline, only=(3, 2))
    found = compare(runs, 1, 0) if swapped else compare(runs)
    assert found.pairs == {"tiny": Pair(3, 2) if swapped else Pair(2, 3)}


def test_they_are_left_out_where_the_baseline_was_another_model_or_other_images(
    runs: Runs,
) -> None:
    baseline = runs.whole(FIRST, correct=8)
    runs.whole(SECOND, correct=8)
    run = runs.store.begin(THIRD)
    runs.example_gen(run, digest="d2", train=11)
    runs.evaluator(run, runs.trainer(run), correct=9, baseline=baseline, only=(3, 2))
    assert compare(runs, 1, 2).pairs == {}
    found = compare(runs, 0, 2)
    assert found.pairs == {}
    assert found.to_json()["same_data"] is False
    assert found.b.counts["train"] == {"COVID-19": 11, "Normal": 11}


def test_runs_go_by_id_beginning_latest_and_previous(runs: Runs) -> None:
    known = [Run(name, 0, {}, newest=name == THIRD) for name in (FIRST, SECOND, THIRD)]

    def of(wanted: str) -> str:
        return choose(known, wanted, "A").id

    assert of("latest") == THIRD
    assert of("previous") == SECOND
    assert of("2026-01-02T03:04") == FIRST
    assert of(SECOND) == SECOND
    # Also where another id begins with it.
    known.append(Run(f"{SECOND}5", 0, {}, newest=False))
    assert of(SECOND) == SECOND
    with pytest.raises(InputError, match=r"A: no run's id begins with '2025'; .* the 4 there are"):
        of("2025")
    with pytest.raises(InputError, match=rf"A: '2026-01-02' is the beginning of {FIRST}, {SECOND}"):
        of("2026-01-02")
    with pytest.raises(InputError, match="B: there is no previous run; the store has 1"):
        choose(known[:1], "previous", "B")
    with pytest.raises(InputError, match="B: there is no latest run; the store has 0"):
        choose([], "latest", "B")
