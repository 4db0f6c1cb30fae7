"""`run_study` on phantoms: what it resumes, what it computes anew, and what seeds mean."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
)

from common.errors import InputError
from common.runtime import prepare_environment
from components.radiograph_example_gen.manifest import digest
from models.feature_store import usage
from pipeline import cli
from pipeline.study.command import REPORT_FILE, TABLE_FILE, run_study, seeds_from
from schema import contract
from tests.pipeline.study.conftest import Configure, Remembering

if TYPE_CHECKING:
    from models.hyperparameters import TrainingParams

prepare_environment()

SEEDS = (3, 4)


@pytest.fixture(scope="module")
def finished(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two seeds; no test may change its folder."""
    output = tmp_path_factory.mktemp("study") / "output"
    screen = Remembering()
    run_study(configure(output), SEEDS, screen)
    assert screen.computed == [("tiny", seed) for seed in SEEDS]
    assert screen.reused == []
    assert screen.passes > 0
    return output


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> list[TrainingParams]:
    """Fits no weights: heads stay as they were drawn, and a network's weights all move by 0.01.

    Returns:
        The recipes that something was to be fitted by.
    """
    given: list[TrainingParams] = []

    def fit_on_taps(head: Any, training: Any, validation: Any, params: Any, **_: Any) -> Any:
        given.append(params)
        return {contract.HISTORY_ITERATION: [0.0]}

    def fit(model: Any, training: Any, validation: Any, params: Any, log_dir: Any) -> Any:
        given.append(params)
        for variable in model.trainable_variables:
            variable.assign(variable + 0.01)
        return {}

    monkeypatch.setattr("models.training.fit_on_taps", fit_on_taps)
    monkeypatch.setattr("models.training.fit", fit)
    return given


def _result(output: Path, seed: int, recipe: str = "tiny") -> dict[str, Any]:
    values: dict[str, Any] = json.loads((output / f"results/{recipe}/seed-{seed}.json").read_text())
    return values


def _report(output: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((output / REPORT_FILE).read_text())
    return values


def test_the_report_counts_what_the_answers_say(finished: Path) -> None:
    model = _report(finished)["models"]["tiny"]
    results = [_result(finished, seed)["test"] for seed in SEEDS]
    labels = [np.array(r["labels"]) for r in results]
    predicted = [np.array(r["probabilities"][contract.FLAT]).argmax(axis=1) for r in results]
    accuracies = [accuracy_score(t, p) for t, p in zip(labels, predicted, strict=True)]
    assert model["mean"] == pytest.approx(np.mean(accuracies))
    assert model["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    pooled = confusion_matrix(np.concatenate(labels), np.concatenate(predicted), labels=[0, 1, 2])
    assert model["confusion"] == pooled.tolist()
    assert model["total"] == pooled.sum() == 2 * 6
    assert model["weights"] == "tiny_drawn_notop.h5"


def test_a_second_run_computes_nothing(
    finished: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("seed-*.json")}
    report = _report(finished)
    for forbidden in ("networks.Prefix", "networks.load_network", "experiment.save_pretrained"):
        monkeypatch.delattr(f"pipeline.study.{forbidden}")
    monkeypatch.delattr("pipeline.study.experiment.train")
    screen = Remembering()
    again = run_study(configure(finished), SEEDS, screen)
    assert screen.reused == [("tiny", seed) for seed in SEEDS]
    assert (screen.computed, screen.passes) == ([], 0)
    assert again["models"] == report["models"]
    assert (again["reused"], report["reused"]) == (2, 0)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("seed-*.json")} == before


def test_a_stopped_study_goes_on_and_ends_as_if_it_had_not(
    finished: Path, configure: Configure, tmp_path: Path
) -> None:
    """So each seed comes to the same alone and behind others."""
    config = configure(tmp_path / "output")
    stopped = Remembering(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        run_study(config, SEEDS, stopped)
    assert not list(config.output.glob(".tmp-*"))
    assert not (config.output / REPORT_FILE).exists()
    screen = Remembering()
    run_study(config, SEEDS, screen)
    assert screen.reused == [("tiny", 3)]
    assert screen.computed == [("tiny", 4)]
    assert screen.passes == 0
    assert _report(config.output)["models"] == _report(finished)["models"]
    for seed in SEEDS:
        _assert_equal(config.output, finished, seed)


def _assert_equal(one: Path, other: Path, seed: int) -> None:
    for part in ("test", "eval", "validation"):
        assert _result(one, seed)[part] == _result(other, seed)[part]


def test_a_changed_recipe_trains_again_on_the_features_that_are_there(
    finished: Path, configure: Configure, tmp_path: Path, brief: list[TrainingParams]
) -> None:
    output = tmp_path / "output"
    shutil.copytree(finished, output)
    screen = Remembering()
    changed = {"learning_rate": 0.002, "epochs": 12, "validation": "holdout"}
    run_study(configure(output, training=changed), (3,), screen)
    assert (screen.computed, screen.passes) == ([("tiny", 3)], 0)
    # Both heads.
    assert [(params.learning_rate, params.epochs) for params in brief] == [(0.002, 12)] * 2
    before = _result(finished, 3)["test"]
    after = _result(output, 3)["test"]
    assert after["sha256"] == before["sha256"]
    assert after["probabilities"] != before["probabilities"]


@pytest.mark.long
@pytest.mark.usefixtures("brief")
def test_where_the_network_trains_nothing_of_it_reaches_the_next_seed(
    configure: Configure, phantom_folder: Path, tmp_path: Path
) -> None:
    training = {"boundary": "block2", "learning_rate": 0.01, "epochs": 1, "warm_start": False}
    # Without a healthy class there is no second head, which would train for itself.
    fields = {"training": training, "data": {"dir": phantom_folder, "healthy": None}}
    run_study(configure(tmp_path / "alone", **fields), (4,), Remembering())
    run_study(configure(tmp_path / "behind", **fields), (3, 4), Remembering())
    _assert_equal(tmp_path / "alone", tmp_path / "behind", 4)
    assert _result(tmp_path / "behind", 3)["eval"] != _result(tmp_path / "behind", 4)["eval"]


@pytest.fixture
def single(few_phantoms: Path) -> dict[str, Any]:
    """Fields with which a seed has one head, fitted once: there is none to ask step by step."""
    training = {"epochs": 1, "validation": "holdout"}
    return {"training": training, "data": {"dir": few_phantoms, "healthy": None}}


@pytest.mark.usefixtures("brief")
def test_random_weights_are_those_of_the_seed(
    configure: Configure, single: dict[str, Any], tmp_path: Path
) -> None:
    """As in a run, where PretrainedBackbone draws them."""
    fields = single | {"weights_dir": None, "allow_random_weights": True}
    screen = Remembering()
    report = run_study(configure(tmp_path / "output", **fields), (3, 4), screen)
    assert "RANDOM weights" in screen.warnings[0]
    assert report["models"]["tiny"]["weights"] == "random"
    stores = [path.read_text() for path in (tmp_path / "output/features").rglob("key.json")]
    assert len({json.loads(text)["weights"] for text in stores}) == len(stores) == 2


def test_no_patient_is_in_two_splits_of_a_seed(
    configure: Configure, phantom_folder: Path, tmp_path: Path
) -> None:
    from pipeline.check.images import inspect_images

    pool = inspect_images(configure(tmp_path, data={"dir": phantom_folder}))
    digests = set()
    for seed in range(12):
        entries = pool.decision(seed).entries()
        places: dict[str, set[str]] = {}
        for entry in entries:
            assert entry.patient
            places.setdefault(entry.patient, set()).add(entry.split)
        assert all(len(splits) == 1 for splits in places.values())
        assert {entry.split for entry in entries} == set(contract.SPLITS)
        digests.add(digest(entries))
    assert len(digests) == 12


@pytest.mark.long
@pytest.mark.usefixtures("brief")
def test_recipes_share_features_where_they_are_cut_at_one_place(
    configure: Configure, phantom_folder: Path, tmp_path: Path
) -> None:
    from pipeline.study.command import open_experiment
    from pipeline.study.results import Recipe

    def run(name: str, training: dict[str, Any], screen: Remembering) -> None:
        data = {"dir": phantom_folder, "healthy": None}
        config = configure(tmp_path, data=data, training=training | {"epochs": 1})
        recipe = Recipe(name, "tiny", config.training_for("tiny"))
        with open_experiment(config, (3,), screen, every_tap=True) as opened:
            opened.experiment.run([recipe], (3,))

    first, second, third = Remembering(), Remembering(), Remembering()
    run("a/1", {"augmentations": ["identity"], "head": {"taps": ["last"]}}, first)
    # 17 training, 7 validation and 6 test images of each of three classes, as they are.
    assert first.passes == (17 + 7 + 6) * 3
    run("a/2", {"augmentations": ["identity", "mirror"], "head": {"taps": ["block1"]}}, second)
    # What is fitted, in the end, has mirrors: training and validation.
    assert second.passes == (17 + 7) * 3
    run("a/3", {"boundary": "block2", "warm_start": False, "augmentations": ["identity"]}, third)
    assert third.passes == first.passes
    assert len(first.computed) == len(second.computed) == len(third.computed) == 1


def test_a_store_elsewhere_serves_several_studies_which_say_that_they_use_it(
    configure: Configure,
    single: dict[str, Any],
    tmp_path: Path,
    brief: list[TrainingParams],
) -> None:
    featurizer = {"store": str(tmp_path / "store")}
    fields = single | {"featurizer": featurizer}
    first, second = Remembering(), Remembering()
    run_study(configure(tmp_path / "one", **fields), (3,), first)
    run_study(configure(tmp_path / "two", **fields), (3, 5), second)
    assert first.passes > 0
    # Images that seed 3 had as they are alone, and seed 5 fits: their mirror images.
    assert 0 < second.passes < first.passes / 2
    (network,) = usage.look(featurizer["store"])
    assert network.used_by == tuple(str(tmp_path / name) for name in ("one", "two"))
    assert brief


def test_an_engine_that_is_not_the_one_asked_for_stops_the_study(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features would lie among the other's, under the other's name."""
    from models import engines

    def broken(*arguments: Any) -> Any:
        raise OSError("no such instruction")

    monkeypatch.setattr(engines, "OpenVinoEngine", broken)
    config = configure(tmp_path, featurizer={"engine": "openvino", "precision": "f32"})
    with pytest.raises(RuntimeError, match=r"tiny's frozen network.*featurizer\.engine"):
        run_study(config, (3,), Remembering())


def test_a_study_searches_for_no_recipe(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "output", tuning={"mode": "search"})
    with pytest.raises(InputError, match=r"tuning\.mode"):
        run_study(config, (0,), Remembering())


@pytest.mark.parametrize(
    ("first", "count", "name"),
    [(0, 0, "seeds"), (-1, 2, "first-seed"), (2**31 - 1, 2, "first-seed")],
)
def test_seeds_out_of_range_are_refused(first: int, count: int, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: "):
        seeds_from(first, count)
    assert seeds_from(7, 3) == (7, 8, 9)


def _cxr(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cxr", "study", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_the_command_prints_and_writes_its_table(
    tiny_backbone: str,
    few_phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 1, validation: holdout}\n")
    output = tmp_path / "my study"
    code = _cxr(
        monkeypatch,
        *("--data", str(few_phantoms), "--output", str(output), "--config", str(file)),
        *("--preset", "demo", "--backbones", tiny_backbone, "--seeds", "1", "--first-seed", "6"),
    )
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "RANDOM" in printed
    report = _report(output)
    assert report["seeds"] == [6]
    table = (output / TABLE_FILE).read_text()
    row = f"{report['models']['tiny']['correct']}/6"
    assert row in printed
    assert row in table
    assert {path.name for path in output.iterdir()} == {
        *("features", "results", "logs", REPORT_FILE, TABLE_FILE)
    }


def test_no_data_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "output")
    assert _cxr(monkeypatch, "--output", output) == cli.EXIT_INPUT
    absent = ("--data", str(tmp_path / "absent"), "--output", output)
    assert _cxr(monkeypatch, *absent) == cli.EXIT_INPUT
    assert "data.dir" in capsys.readouterr().err
