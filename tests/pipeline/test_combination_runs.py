"""Ensemble and cascade in a run of the whole DAG, with two backbones that take no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli
from pipeline.config import load_config
from pipeline.layout import OutputLayout
from schema import contract
from serving.local_client import predict_files
from serving.prediction import Prediction

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = pytest.mark.slow

CHEAP = "tinier"
MODELS = {"tiny", CHEAP, "ensemble", "cascade"}


@pytest.fixture(scope="module")
def two_runs(
    run: Run, two_backbones: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Outcome]:
    """The same run twice in one output folder."""
    output = tmp_path_factory.mktemp("combined") / "output"
    # What is combined needn't be good.
    config = {
        "backbones": two_backbones,
        "gate": {"min_accuracy": 0.0},
        "training": {"learning_rate": 0.01, "epochs": 10},
    }
    first, second = run(output, config=config), run(output, config=config)
    assert first.exit_code == second.exit_code == 0, first.printed + second.printed
    return first, second


def _validation(outcome: Outcome, name: str) -> dict[str, Any]:
    node = f"Combiner.{name}" if name in ("ensemble", "cascade") else f"Trainer.{name}"
    folder = OutputLayout(outcome.output).artifacts / node / "model_run"
    (file,) = folder.glob(f"*/{contract.VALIDATION_FILE}")
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def test_combinations_are_judged_and_pushed_like_backbones(
    two_runs: tuple[Outcome, Outcome],
) -> None:
    first, _ = two_runs
    models = first.summary["models"]
    assert set(models) == MODELS
    assert [name for name, model in models.items() if model["members"]] == ["ensemble", "cascade"]
    for name in MODELS:
        assert models[name]["blessed"], first.printed
        assert models[name]["total"] == 18
        pushed = Path(models[name]["pushed_to"])
        assert pushed.parent == first.output.resolve() / "serving" / name
        assert (pushed / contract.SAVED_MODEL_FILE).is_file()
    for name in ("ensemble", "cascade"):
        assert models[name]["weights"] is None
        assert models[name]["members"] == sorted(["tiny", CHEAP])
        assert f"of {', '.join(models[name]['members'])}" in first.printed


def test_the_champion_is_the_best_of_four_by_validation(two_runs: tuple[Outcome, Outcome]) -> None:
    first, _ = two_runs
    results = {name: _validation(first, name) for name in MODELS}
    best = max(sorted(MODELS), key=lambda name: (results[name]["accuracy"], -results[name]["loss"]))
    assert first.summary["champion"] == best
    assert results["cascade"]["cascade"]["first"] == CHEAP
    assert results["ensemble"]["multiply_adds"] == sum(
        results[name]["multiply_adds"] for name in ("tiny", CHEAP)
    )


def test_the_summary_tells_how_each_model_abstains(two_runs: tuple[Outcome, Outcome]) -> None:
    first, _ = two_runs
    for name in MODELS:
        abstain = first.summary["models"][name]["abstain"]
        assert abstain["threshold"] == _validation(first, name)["abstain"]["threshold"]
        if abstain["threshold"] == 0:
            assert abstain["coverage"] == 1
            assert abstain["accuracy"] == first.summary["models"][name]["accuracy"]


def test_a_combinations_lineage_leads_to_the_one_split(two_runs: tuple[Outcome, Outcome]) -> None:
    """Through several Trainers; else it would never have a baseline."""
    from components.baseline_resolver.comparison import training_data
    from pipeline.summary import open_store, read_run

    layout = OutputLayout(two_runs[0].output)
    store, outputs = open_store(layout), read_run(layout)
    of_member, of_ensemble, of_cascade = (
        training_data(store, outputs.artifacts[node, "model"])
        for node in ("Trainer.tiny", "Combiner.ensemble", "Combiner.cascade")
    )
    assert len(of_member.held_out.hashes) == 18
    assert of_member == of_ensemble == of_cascade


def _cards(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Model -> its card, from beside the pushed version."""
    pushed = {name: model["pushed_to"] for name, model in outcome.summary["models"].items()}
    pushed[contract.CHAMPION] = outcome.summary["champion_pushed_to"]
    return {
        name: json.loads(
            Path(folder, contract.EXTRA_ASSETS, contract.MODEL_CARD_DATA_FILE).read_text()
        )
        for name, folder in pushed.items()
    }


def test_every_pushed_model_has_its_card_beside_it(two_runs: tuple[Outcome, Outcome]) -> None:
    first, _ = two_runs
    summary, cards = first.summary, _cards(first)
    assert set(cards) == {*MODELS, contract.CHAMPION}
    assert cards[contract.CHAMPION] == cards[summary["champion"]]
    for name in MODELS:
        card, model = cards[name], summary["models"][name]
        assert card["notice"] == "Not for diagnosis."
        assert card["model"]["name"] == name
        assert card["model"]["classes"] == summary["data"]["classes"]
        assert card["model"]["seed"] == summary["seed"]
        assert card["model"]["preset"] == summary["preset"]
        assert card["model"]["versions"]["tfx"] == summary["tfx_version"]
        assert card["recipe"]["weights"] == model["weights"]
        assert card["recipe"]["members"] == model["members"]
        assert card["recipe"]["training"] == model["training"]
        assert card["data"]["manifest_digest"] == summary["data"]["digest"]
        for one in card["data"]["classes"]:
            counts = {split: row[one["name"]] for split, row in summary["data"]["counts"].items()}
            assert one["splits"] == counts
            assert one["sources"] == {"phantom": sum(counts.values())}
        results = card["results"]
        assert results["accuracy"] == {
            "count": model["correct"],
            "total": model["total"],
            "value": model["accuracy"],
            "wilson95": model["wilson95"],
        }
        assert results["confusion"] == model["confusion"]
        assert results["abstaining"]["threshold"] == model["abstain"]["threshold"]
        assert results["abstaining"]["judged_at"] == model["abstain"]["judged_at"]
        assert results["abstaining"]["answered"]["value"] == model["abstain"]["coverage"]
        assert results["abstaining"]["right"]["value"] == model["abstain"]["accuracy"]
        assert card["gate"]["figures"] == model["gate"]
        assert card["gate"]["blessed"] == model["blessed"]
        assert card["gate"]["refused_because"] is None
        sizes = {part["value"]: part["accuracy"] for part in results["slices"]}
        for index, class_name in enumerate(card["model"]["classes"]):
            row = model["confusion"][index]
            assert (sizes[class_name]["count"], sizes[class_name]["total"]) == (row[index], 6)


def test_the_page_beside_the_model_is_the_nodes_and_the_artifact_is_untouched(
    two_runs: tuple[Outcome, Outcome],
) -> None:
    first, _ = two_runs
    artifacts = OutputLayout(first.output).artifacts
    for name in MODELS:
        (card,) = (artifacts / f"ModelCard.{name}" / "model_card").iterdir()
        page = (card / contract.MODEL_CARD_FILE).read_text()
        assert page.startswith(f"# Model card: {name}\n")
        beside = Path(first.summary["models"][name]["pushed_to"], contract.EXTRA_ASSETS)
        assert (beside / contract.MODEL_CARD_FILE).read_text() == page
        node = f"Combiner.{name}" if name in ("ensemble", "cascade") else f"Trainer.{name}"
        assert (artifacts / node / "model").is_dir()
        assert not list((artifacts / node / "model").rglob(contract.EXTRA_ASSETS))


def test_a_second_run_computes_nothing(two_runs: tuple[Outcome, Outcome]) -> None:
    first, second = two_runs
    assert second.executed == set()
    assert {"Combiner.ensemble", "Combiner.cascade", "Pusher.cascade"} <= second.cached
    assert second.served == first.served


def test_cxr_predict_asks_a_combination_by_its_name(
    two_runs: tuple[Outcome, Outcome],
    phantom_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = next(phantom_folder.rglob("*.png"))
    serving = OutputLayout(two_runs[0].output).serving
    arguments = ["predict", str(file), "--model-dir", str(serving), "--model", "ensemble"]
    monkeypatch.setattr("sys.argv", ["cxr", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr().out
    assert not stopped.value.code, printed
    (prediction,) = predict_files([file], serving, "ensemble")
    assert isinstance(prediction, Prediction)
    assert file.name in printed
    for probability in prediction.probabilities.values():
        assert f"{probability:.3f}" in printed


def test_pushed_combinations_answer(
    two_runs: tuple[Outcome, Outcome], phantom_folder: Path
) -> None:
    first, _ = two_runs
    files = sorted(phantom_folder.rglob("*.png"))[::12]
    serving = OutputLayout(first.output).serving
    answers = {
        name: [r for r in predict_files(files, serving, name) if isinstance(r, Prediction)]
        for name in sorted(MODELS)
    }
    assert {len(found) for found in answers.values()} == {len(files)}
    classes = [c.name for c in load_config(overrides={"data": {"dir": "."}}).data.classes]
    for name in ("ensemble", "cascade"):
        for prediction in answers[name]:
            assert list(prediction.probabilities) == classes
            assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    # Unlike temperatures, means keep the order between two members that agree.
    for both, one, other in zip(answers["ensemble"], answers["tiny"], answers[CHEAP], strict=True):
        if one.predicted_class == other.predicted_class:
            assert both.predicted_class == one.predicted_class
