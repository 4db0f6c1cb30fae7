"""What a second `cxr run` into the same output folder computes again, and what `cxr runs` says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

JUDGED = {
    "Evaluator.tiny",
    "ModelCard.tiny",
    "Pusher.tiny",
    "Champion",
    "Pusher.champion",
    "Report",
}


@pytest.fixture(scope="module")
def reruns(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Outcome]:
    """The same twice, once with another learning rate, and back; none of the tests writes there."""
    output = tmp_path_factory.mktemp("reruns") / "output"
    other = {"training": {"learning_rate": 0.02, "epochs": 60}}
    return [run(output), run(output), run(output, config=other), run(output)]


def test_a_rerun_computes_what_changed_and_what_depends_on_it(reruns: Sequence[Outcome]) -> None:
    first, again, other, back = reruns
    assert first.exit_code == cli.EXIT_PUSHED, first.printed
    assert first.cached == set()

    assert again.exit_code == cli.EXIT_PUSHED, again.printed
    assert again.executed == set()
    assert again.cached == first.executed
    assert again.served == first.served
    for key in ("data", "models", "champion", "champion_pushed_to"):
        assert again.summary[key] == first.summary[key]

    # Whether the other rate gives a better model is not what is tested.
    assert other.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), other.printed
    assert other.executed == {"Trainer.tiny"} | JUDGED
    assert other.cached == first.executed - other.executed

    # The first model has another rival now, so it may be judged again, but isn't trained.
    assert back.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), back.printed
    assert back.executed <= JUDGED
    assert "Trainer.tiny" in back.cached
    model, same = first.summary["models"]["tiny"], back.summary["models"]["tiny"]
    assert same["confusion"] == model["confusion"]


def test_cxr_runs_lists_them_as_their_summaries_did(
    reruns: Sequence[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _printed_json(capsys, "runs", "--output", str(reruns[0].output))
    assert len(listed) == len(reruns)
    assert [run["run"] for run in listed] == sorted(run["run"] for run in listed)
    for run, outcome in zip(listed, reruns, strict=True):
        assert run["state"] == ("none blessed" if outcome.exit_code else "complete")
        assert run["seed"] == outcome.summary["seed"]
        assert run["data"]["digest"] == outcome.summary["data"]["digest"]
        assert run["data"]["counts"] == outcome.summary["data"]["counts"]
        assert run["champion"] == outcome.summary["champion"]
        model, wanted = run["models"]["tiny"], outcome.summary["models"]["tiny"]
        for key in ("accuracy", "correct", "total", "blessed", "pushed_to"):
            assert model[key] == wanted[key]
        nodes = {"executed": len(outcome.executed), "cached": len(outcome.cached)}
        assert run["nodes"] == nodes
        assert run["artifacts"]["gone"] == 0
        assert 0 < run["seconds"] <= outcome.summary["seconds"]["total"]


def test_cxr_runs_diff_finds_the_field_that_was_changed(
    reruns: Sequence[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, other, _ = reruns
    output = str(first.output)
    ids = [run["run"] for run in _printed_json(capsys, "runs", "--output", output)]

    same = _printed_json(capsys, "runs", "diff", ids[0], ids[1], "--output", output)
    assert (same["properties"], same["code"], same["same_data"]) == ([], [], True)
    hows = {(node["a"], node["b"]) for node in same["nodes"].values()}
    assert hows == {("executed", "cached"), ("resolved", "resolved")}

    found = _printed_json(capsys, "runs", "diff", ids[1], ids[2], "--output", output)
    (change,) = (c for c in found["properties"] if not c["nodes"][0].startswith("Pusher."))
    rate = {"field": "training.learning_rate", "nodes": ["Trainer.tiny"]}
    assert change == {**rate, "a": 0.01, "b": 0.02}
    assert found["code"] == []
    # The first model is the other one's baseline.
    gate = other.summary["models"]["tiny"]["gate"]
    assert found["only_one_right"] == {
        "tiny": {
            "a": gate["mcnemar_only_baseline_right"],
            "b": gate["mcnemar_only_candidate_right"],
        }
    }


def _printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["cxr", *arguments, "--json"])
        cli.main()
    assert not stopped.value.code
    return json.loads(capsys.readouterr().out)
