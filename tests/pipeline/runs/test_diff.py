"""What `cxr runs diff` finds between two records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import InputError
from pipeline.runs.diff import Change, CodeChange, Pair, choose, diff
from pipeline.runs.record import Node, Records, read_records

if TYPE_CHECKING:
    from tests.pipeline.runs.conftest import Runs

FIRST, SECOND, THIRD = (
    "2026-01-02T03-04-05.1",
    "2026-01-02T03-05-06.2",
    "2026-01-03T00-00-00.3",
)


def test_two_equal_runs_differ_in_nothing(runs: Runs) -> None:
    found = diff(runs.whole(FIRST), runs.whole(SECOND))
    assert (found.configuration, found.code, found.pairs) == ((), (), {})
    assert set(found.nodes.values()) == {("executed", "executed")}
    assert found.to_json(runs.layout)["same_data"] is True


def test_fields_and_code_that_changed(runs: Runs) -> None:
    a = runs.whole(FIRST)
    b = runs.whole(SECOND, training_learning_rate=1, gate_slices=[], code="c9")
    # Of the DAG's nodes, Baseline has no digest in either, and the examples' isn't known in one.
    b.nodes["RadiographExampleGen"].code = "c0"
    b.found, b.versions = {"engine": "tensorflow 2"}, {"tfx": "1.21.0"}
    found = diff(a, b)
    assert found.configuration == (
        Change("training.learning_rate", {"a": 0.001, "b": 1}),
        Change("found.engine", {"a": "openvino-bf16 1", "b": "tensorflow 2"}),
        Change("versions.tfx", {"a": "1.16.0", "b": "1.21.0"}),
        Change("gate.slices", {"b": []}),
    )
    assert found.code == (
        CodeChange(("RadiographExampleGen",), None, "c0"),
        CodeChange(("Trainer.tiny",), "c1", "c9"),
    )
    listed = found.to_json(runs.layout)
    assert listed["configuration"][0] == {"field": "training.learning_rate", "a": 0.001, "b": 1}
    assert listed["code"][1] == {"nodes": ["Trainer.tiny"], "a": "c1", "b": "c9"}


def test_a_type_that_changed_is_a_change(runs: Runs) -> None:
    a, b = runs.whole(FIRST, seed=1), runs.whole(SECOND, seed=True)
    assert diff(a, b).configuration == (Change("seed", {"a": 1, "b": True}),)


def test_what_only_one_run_has_is_the_difference_itself(runs: Runs) -> None:
    a, b = runs.whole(FIRST), runs.whole(SECOND, backbones=["tiny", "small"])
    b.configuration["training_of.small.learning_rate"] = 0.1
    a.nodes = {"Trainer.tiny": Node(how="executed", code="c1")}
    b.nodes = {"Trainer.small": Node(how="cached", code="c2")}
    found = diff(a, b)
    assert [change.field for change in found.configuration] == ["backbones"]
    assert found.code == ()
    assert found.nodes == {"Trainer.tiny": ("executed", None), "Trainer.small": (None, "cached")}


@pytest.mark.parametrize("swapped", [False, True])
def test_images_of_only_one_are_known_where_one_is_the_others_baseline(
    runs: Runs, swapped: bool
) -> None:
    a = runs.whole(FIRST, correct=8)
    b = runs.whole(SECOND, baseline=a, only=(3, 2))
    found = diff(b, a) if swapped else diff(a, b)
    assert found.pairs == {"tiny": Pair(3, 2) if swapped else Pair(2, 3)}


def test_they_are_left_out_where_the_baseline_was_another_model_or_other_images(
    runs: Runs,
) -> None:
    a, b = runs.whole(FIRST, correct=8), runs.whole(SECOND, correct=8)
    c = runs.whole(THIRD, digest="d2", train=11, baseline=a, only=(3, 2))
    assert diff(b, c).pairs == {}
    found = diff(a, c)
    assert found.pairs == {}
    assert found.to_json(runs.layout)["same_data"] is False
    assert found.b.counts["train"] == {"COVID-19": 11, "Normal": 11}


def test_runs_go_by_id_beginning_latest_and_previous(runs: Runs) -> None:
    for run_id in (FIRST, SECOND, THIRD):
        runs.whole(run_id)

    def of(wanted: str) -> str:
        return choose(read_records(runs.layout), wanted, "A").id

    assert of("latest") == THIRD
    assert of("previous") == SECOND
    assert of("2026-01-02T03-04") == FIRST
    assert of(SECOND) == SECOND
    # Also where another id begins with it.
    runs.whole(f"{SECOND}5")
    assert of(SECOND) == SECOND
    with pytest.raises(InputError, match=r"A: no run's id begins with '2025'; .* the 4 there are"):
        of("2025")
    with pytest.raises(InputError, match=rf"A: '2026-01-02' is the beginning of {FIRST}, {SECOND}"):
        of("2026-01-02")
    runs.file(FIRST).write_text("{}")
    with pytest.raises(InputError, match=r"A: .*run\.json can't be read as the record of a run"):
        of(FIRST)
    one = Records(read_records(runs.layout).readable[:1], {})
    with pytest.raises(InputError, match="B: there is no previous run; there are 1 in all"):
        choose(one, "previous", "B")
