"""Ensemble, cascade and fusion in the golden run: judged, pushed and described like backbones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from schema import contract

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

BACKBONES = {"vgg16", "xception", "densenet121"}
COMBINED = ("ensemble", "cascade", "fusion")
MODELS = BACKBONES | set(COMBINED)


def _producer(name: str) -> str:
    return f"{'Combiner' if name in ('ensemble', 'cascade') else 'Trainer'}.{name}"


def _validation(golden: GoldenRun, name: str) -> dict[str, Any]:
    folder = golden.layout.artifacts / _producer(name) / "model_run"
    (file,) = folder.glob(f"*/{contract.VALIDATION_FILE}")
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def test_combinations_are_judged_and_pushed_like_backbones(golden: GoldenRun) -> None:
    models = golden.summary["models"]
    assert set(models) == MODELS
    assert [name for name, model in models.items() if model["members"]] == list(COMBINED)
    for name in MODELS:
        assert models[name]["blessed"], golden.first.printed
        assert models[name]["total"] == 18
        pushed = Path(models[name]["pushed_to"])
        assert pushed.parent == golden.layout.serving / name
        assert (pushed / contract.SAVED_MODEL_FILE).is_file()
    for name in COMBINED:
        assert models[name]["weights"] is None
        assert models[name]["members"] == sorted(BACKBONES)
        assert f"of {', '.join(models[name]['members'])}" in golden.first.printed


def test_the_champion_is_the_best_of_all_by_validation(golden: GoldenRun) -> None:
    results = {name: _validation(golden, name) for name in MODELS}
    best = min(MODELS, key=lambda name: results[name]["loss"])
    assert golden.summary["champion"] == best
    costs = {name: results[name]["multiply_adds"] for name in BACKBONES}
    assert results["cascade"]["cascade"]["first"] == min(costs, key=costs.__getitem__)
    assert results["ensemble"]["multiply_adds"] == sum(costs.values())
    # All networks run for it, some of them further than for a head of their own, and some less.
    assert results["fusion"]["multiply_adds"] > max(costs.values())


def _kept(golden: GoldenRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model -> its labels and probabilities of the test split's images, in one order."""
    content = json.loads((golden.layout.report / "answers.json").read_text())
    assert len({tuple(answers["sha256"]) for answers in content.values()}) == 1
    return {
        name: (np.array(answers["labels"]), np.array(answers["probabilities"]))
        for name, answers in content.items()
    }


def test_the_summary_tells_how_each_model_abstains(golden: GoldenRun) -> None:
    kept = _kept(golden)
    for name in MODELS:
        abstain = golden.summary["models"][name]["abstain"]
        assert abstain["threshold"] == _validation(golden, name)["abstain"]["threshold"]
        labels, probabilities = kept[name]
        answered = probabilities.max(axis=1) >= (abstain["judged_at"] or abstain["threshold"])
        assert abstain["coverage"] == answered.mean()
        right = probabilities.argmax(axis=1) == labels
        assert abstain["accuracy"] == (right[answered].mean() if answered.any() else None)


def test_means_keep_the_order_among_members_that_agree(golden: GoldenRun) -> None:
    """Unlike temperatures."""
    predicted = {
        name: probabilities.argmax(axis=1) for name, (_, probabilities) in _kept(golden).items()
    }
    members = np.stack([predicted[name] for name in sorted(BACKBONES)])
    agreed = (members == members[0]).all(axis=0)
    assert agreed.any()
    np.testing.assert_array_equal(predicted["ensemble"][agreed], members[0][agreed])


@pytest.mark.slow
def test_of_a_combination_is_kept_what_a_baseline_needs(golden: GoldenRun) -> None:
    """As of a backbone; else it would never have one."""
    from components.pushed_versions.record import read_kept, training_data_of
    from components.saved_models import digest_of_model
    from models import evaluation_model

    kept = {}
    for name in ("vgg16", *COMBINED):
        pushed = Path(golden.summary["models"][name]["pushed_to"])
        kept[name] = read_kept(str(golden.layout.pushed / name / pushed.name))
        assert kept[name].model == digest_of_model(str(pushed))
        # By which it answers in the next run, where features are those of this one.
        wanted = set(BACKBONES) if name in COMBINED else {name}
        assert set(evaluation_model.read_members(kept[name].heads)) == wanted
    of_member, *of_combined = map(training_data_of, kept.values())
    assert len(of_member.held_out.hashes) == 18
    assert all(of_member == other for other in of_combined)


def _cards(golden: GoldenRun) -> dict[str, dict[str, Any]]:
    """Model -> its card, from beside the pushed version."""
    pushed = {name: model["pushed_to"] for name, model in golden.summary["models"].items()}
    pushed[contract.CHAMPION] = golden.summary["champion_pushed_to"]
    return {
        name: json.loads(
            Path(folder, contract.EXTRA_ASSETS, contract.MODEL_CARD_DATA_FILE).read_text()
        )
        for name, folder in pushed.items()
    }


def test_every_pushed_model_has_its_card_beside_it(golden: GoldenRun) -> None:
    summary, cards = golden.summary, _cards(golden)
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
    golden: GoldenRun,
) -> None:
    artifacts = golden.layout.artifacts
    for name in MODELS:
        (card,) = (artifacts / f"ModelCard.{name}" / "model_card").iterdir()
        page = (card / contract.MODEL_CARD_FILE).read_text()
        assert page.startswith(f"# Model card: {name}\n")
        beside = Path(golden.summary["models"][name]["pushed_to"], contract.EXTRA_ASSETS)
        assert (beside / contract.MODEL_CARD_FILE).read_text() == page
        assert (artifacts / _producer(name) / "model").is_dir()
        assert not list((artifacts / _producer(name) / "model").rglob(contract.EXTRA_ASSETS))
