"""The search for a recipe: what is tried, what is found, and what failures do to it."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tfx.v1.components import FnArgs

from models.backbones import BOUNDARY_HEAD, build_network, get_backbone
from models.boundary import CutNetwork, cut
from models.hyperparameters import TrainingParams, apply_hyperparameters
from models.training import Task, train
from models.tuning import (
    RecipeOracle,
    RecipeTuner,
    Trials,
    first_recipe,
    search_space,
    tuner_fn,
)
from schema import contract

Values = Mapping[str, Any]
Store = Callable[..., list[str]]
# The taps of tests/conftest.py's tiny backbone.
CHANNELS = {"block1": 12, "last": 24}
# Six epochs at this rate get nowhere; the data want about a hundred times more. (Without dropout,
# no rate would be asked for.)
BAD: dict[str, Any] = {"learning_rate": 1e-4, "head": {"dropout": 0.1}}
TRAINING: dict[str, Any] = {
    "learning_rate": 0.01,
    "batch_size": 16,
    "epochs": 6,
    "validation": "holdout",
}
# What L-BFGS fits, and folds judge.
CROSSED: dict[str, Any] = {"validation": "cross", "epochs": 60, "head": {"l2": 0.9}}


def _params(**fields: Any) -> TrainingParams:
    return TrainingParams.model_validate(TRAINING | fields).resolved(get_backbone("tiny"))


def _features(count: int, seed: int, signal: float = 2.0) -> tuple[dict[str, Any], np.ndarray]:
    """Taps of three classes and a map of noise, as the tiny backbone is cached."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    features = {
        name: rng.normal(size=(count, channels)).astype(np.float32)
        for name, channels in CHANNELS.items()
    }
    for values in features.values():
        values[np.arange(count), labels] += signal
    return features, labels


@pytest.fixture(scope="module")
def backbone_dir(tiny_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone's weights, as PretrainedBackbone stores them."""
    folder = tmp_path_factory.mktemp("backbone")
    keras.utils.set_random_seed(0)
    network = build_network(get_backbone(tiny_backbone))
    network.save_weights(folder / contract.BACKBONE_WEIGHTS_FILE)
    return folder


@pytest.fixture(scope="module")
def search(
    backbone_dir: Path, module_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., RecipeTuner]:
    """Runs `tuner_fn` and its search on features at boundary head, as TFX' Tuner does."""
    files = {
        split: module_store(split, *_features(count, seed))
        for split, count, seed in (("train", 48, 1), ("eval", 24, 2))
    }

    unrelated = itertools.count(100)

    def call(
        work: Path | None = None, train_files: list[str] | None = None, **fields: Any
    ) -> RecipeTuner:
        config = {
            "backbone": "tiny",
            "n_classes": 3,
            "seed": 0,
            "training": _params().model_dump(mode="json"),
            "boundaries": [BOUNDARY_HEAD],
            "trials": 3,
        }
        # What ran before in this process must not matter.
        keras.utils.set_random_seed(next(unrelated))
        result = tuner_fn(
            FnArgs(
                working_dir=str(work or tmp_path_factory.mktemp("work")),
                train_files=train_files or files["train"],
                eval_files=files["eval"],
                base_model=str(backbone_dir),
                custom_config=config | fields,
            )
        )
        result.tuner.search(**result.fit_kwargs)
        return result.tuner

    return call


@dataclass(frozen=True)
class Searched:
    """A search that starts from a bad recipe.

    Attributes:
        tuner: after it.
        work: the working folder.
        printed: standard output.
        elsewhere: what it left in the current folder.
    """

    tuner: RecipeTuner
    work: Path
    printed: str
    elsewhere: list[Path]


@pytest.fixture(scope="module")
def searched(
    search: Callable[..., RecipeTuner],
    tiny_backbone: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Searched:
    """Three trials, with heads of both kinds among them."""
    work, elsewhere = (tmp_path_factory.mktemp(name) for name in ("work", "elsewhere"))
    recipe = _params(**BAD).model_dump(mode="json")
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
    ):
        patch.chdir(elsewhere)
        tuner = search(work, training=recipe, trials=3)
        tuner.search_space_summary()
        tuner.results_summary()
    return Searched(tuner, work, printed.getvalue(), list(elsewhere.iterdir()))


def _tried(tuner: RecipeTuner) -> list[tuple[Values, float]]:
    trials = tuner.oracle.trials.values()
    return [(trial.hyperparameters.values, trial.score) for trial in trials]


class Remembering:
    """Takes every recipe for as good as any other, and remembers it."""

    def __init__(self) -> None:
        self.tried: list[Values] = []

    def __call__(self, values: Values) -> float:
        self.tried.append(values)
        return 1.0


def test_a_bad_recipe_is_left_for_a_better_one(searched: Searched) -> None:
    first, *others = _tried(searched.tuner)
    assert first[0]["learning_rate"] == pytest.approx(1e-4)
    assert first[0]["head.kind"] == "regularised"
    assert first[0]["batch_size"] == 16
    (best,) = searched.tuner.get_best_hyperparameters()
    losses = [score for _, score in others]
    assert best.values == others[int(np.argmin(losses))][0]
    assert min(losses) < 0.7 * first[1]
    assert best.values["learning_rate"] > 1e-3


@pytest.mark.parametrize(
    ("kind", "task"), [("regularised", Task(3, healthy=1)), ("paper", Task(3))]
)
def test_a_trials_loss_is_the_one_that_training_finds(
    kind: str, task: Task, searched: Searched, store: Store
) -> None:
    """Whatever else was tried before it; so the same seed finds the same."""
    *_, (values, loss) = (
        tried for tried in _tried(searched.tuner) if tried[0]["head.kind"] == kind
    )
    row = get_backbone("tiny")
    params = apply_hyperparameters(_params(**BAD), values, row)
    trained = train(
        cut(build_network(row), row, BOUNDARY_HEAD, params.head.taps),
        params,
        task,
        train_files=store("train again", *_features(48, 1)),
        eval_files=store("eval again", *_features(24, 2)),
        seed=0,
    )
    assert trained.validation["loss"] == loss


def test_where_folds_judge_the_penalty_alone_is_searched(
    search: Callable[..., RecipeTuner], store: Store, tiny_backbone: str
) -> None:
    params = _params(**CROSSED)
    tuner = search(training=params.model_dump(mode="json"), trials=3)
    tried = _tried(tuner)
    assert [set(values) for values, _ in tried] == [{"head.l2"}] * 3
    assert tried[0][0]["head.l2"] == 0.9
    values, loss = min(tried, key=lambda one: one[1])
    assert loss < tried[0][1], "else the search has found nothing"
    row = get_backbone("tiny")
    found = apply_hyperparameters(params, values, row)
    assert found.validation == "cross"
    trained = train(
        cut(build_network(row), row, BOUNDARY_HEAD, found.head.taps),
        found,
        Task(3),
        # The digests of the images, and so the folds, come of these names.
        train_files=store("train", *_features(48, 1)),
        eval_files=store("eval", *_features(24, 2)),
        seed=0,
    )
    assert trained.validation["loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("boundaries", [["block2"], ["block2", BOUNDARY_HEAD]])
def test_where_a_block_is_searched_all_are_judged_by_what_is_held_out(
    boundaries: list[str], tiny_backbone: str
) -> None:
    params = _params(**CROSSED)
    assert first_recipe(params, [BOUNDARY_HEAD]) == params
    first = first_recipe(params, boundaries)
    assert first == params.model_copy(update={"validation": "holdout"})
    assert "head.kind" in search_space(first, boundaries).values


def test_the_same_seed_tries_the_same(
    search: Callable[..., RecipeTuner], searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trials, "loss", lambda *_: 1.0)
    one = [values for values, _ in _tried(searched.tuner)]
    two, other = (
        [v for v, _ in _tried(search(training=_params(**BAD).model_dump(mode="json"), seed=seed))]
        for seed in (0, 7)
    )
    assert one == two
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_block_is_tried_with_its_own_map_and_rates(
    backbone_dir: Path,
    tiny_backbone: str,
    tiny_cut: Callable[..., CutNetwork],
    store: Store,
    tmp_path: Path,
) -> None:
    specs = {**tiny_cut("block2").features, **tiny_cut(BOUNDARY_HEAD).features}
    rng = np.random.default_rng(0)

    def stored(name: str, count: int) -> list[str]:
        maps = {
            key: rng.normal(size=(count, *spec.shape)).astype(spec.dtype)
            for key, spec in specs.items()
        }
        return store(name, maps, np.arange(count) % 3)

    train_files, eval_files = stored("train", 12), stored("eval", 6)
    params = _params(boundary="block2", epochs=1, learning_rate=1e-4, warm_start=False)
    result = tuner_fn(
        FnArgs(
            working_dir=str(tmp_path / "work"),
            train_files=train_files,
            eval_files=eval_files,
            base_model=str(backbone_dir),
            custom_config={
                "backbone": tiny_backbone,
                "n_classes": 3,
                "seed": 0,
                "training": params.model_dump(mode="json"),
                "boundaries": ["block2", BOUNDARY_HEAD],
                "trials": 1,
            },
        )
    )
    result.tuner.search()
    ((values, loss),) = _tried(result.tuner)
    assert values["boundary"] == "block2"
    trained = train(
        tiny_cut("block2"),
        apply_hyperparameters(params, values, get_backbone(tiny_backbone)),
        Task(3),
        train_files=train_files,
        eval_files=eval_files,
        seed=0,
    )
    # Threads sum the gradients of convolutions in any order.
    assert loss == pytest.approx(trained.validation["loss"], rel=1e-3)


@pytest.mark.parametrize("boundaries", [["head"], ["block2"], ["block2", "head"]])
def test_only_cached_boundaries_are_tried_each_with_rates_of_its_own(
    boundaries: list[str], tiny_backbone: str, tmp_path: Path
) -> None:
    remembering = Remembering()
    oracle = RecipeOracle(search_space(_params(learning_rate=5e-4), boundaries), 11, seed=0)
    RecipeTuner(oracle, remembering, str(tmp_path)).search()
    tried = remembering.tried
    assert {values["boundary"] for values in tried} == set(boundaries)
    rates = {
        boundary: [
            apply_hyperparameters(_params(), v, get_backbone(tiny_backbone)).learning_rate
            for v in tried
            if v["boundary"] == boundary
        ]
        for boundary in boundaries
    }
    if "head" in rates:
        assert min(rates["head"]) >= 1e-4
        assert 1e-3 < max(rates["head"]) <= 3e-2
    if "block2" in rates:
        assert 1e-6 <= min(rates["block2"]) < 1e-4
        assert max(rates["block2"]) <= 1e-3
    for values in tried:
        other = {"regularised": "head.width", "paper": "head.l2"}[values["head.kind"]]
        assert other not in values
        assert len([name for name in values if name.startswith("learning_rate")]) == 1


def test_the_configurations_own_recipe_is_tried_first_wherever_it_lies(
    tiny_backbone: str, tmp_path: Path
) -> None:
    own = _params(
        learning_rate=0.5, batch_size=7, head={"kind": "paper", "width": 9, "dropout": 0.9}
    )
    remembering = Remembering()
    oracle = RecipeOracle(search_space(own, ["head"]), 2, seed=0)
    RecipeTuner(oracle, remembering, str(tmp_path)).search()
    tried = remembering.tried
    assert apply_hyperparameters(_params(), tried[0], get_backbone(tiny_backbone)) == own
    assert tried[1] != tried[0]


def test_a_recipe_that_diverges_fails_and_the_search_goes_on(
    tiny_backbone: str, tmp_path: Path
) -> None:
    """More failures in a row than KerasTuner would put up with by itself."""
    calls: list[Values] = []

    def loss(values: Values) -> float:
        calls.append(values)
        if 2 <= len(calls) <= 6:
            raise FloatingPointError("training diverged")
        return float(len(calls))

    oracle = RecipeOracle(search_space(_params(), ["head"]), 8, seed=0)
    tuner = RecipeTuner(oracle, loss, str(tmp_path))
    tuner.search()
    states = [trial.status for trial in oracle.trials.values()]
    assert states == ["COMPLETED"] + ["FAILED"] * 5 + ["COMPLETED"] * 2
    assert tuner.get_best_hyperparameters()[0].values == calls[0]


def test_a_search_of_which_nothing_comes_is_an_error(tiny_backbone: str, tmp_path: Path) -> None:
    """KerasTuner itself would name the first failed trial the best."""
    numbers = itertools.count(1)

    def loss(values: Values) -> float:
        raise FloatingPointError(f"training {next(numbers)} diverged")

    oracle = RecipeOracle(search_space(_params(), ["head"]), 3, seed=0)
    with pytest.raises(RuntimeError, match=r"all 3 trials failed.*training 3 diverged"):
        RecipeTuner(oracle, loss, str(tmp_path)).search()


def test_a_training_that_diverges_is_a_failed_trial(
    search: Callable[..., RecipeTuner], store: Store
) -> None:
    features, labels = _features(12, 1)
    features["last"][3, 3] = math.nan
    with pytest.raises(RuntimeError, match=r"all 1 trials failed.*training diverged"):
        search(train_files=store("broken", features, labels), trials=1)


def test_an_error_that_is_not_the_recipes_ends_the_search(
    tiny_backbone: str, tmp_path: Path
) -> None:
    def loss(values: Values) -> float:
        raise KeyError("no such feature")

    oracle = RecipeOracle(search_space(_params(), ["head"]), 8, seed=0)
    with pytest.raises(RuntimeError, match="no such feature"):
        RecipeTuner(oracle, loss, str(tmp_path)).search()
    assert len(oracle.trials) == 1


def test_nothing_is_printed_and_all_files_are_in_the_working_folder(searched: Searched) -> None:
    assert searched.printed == ""
    assert searched.elsewhere == []
    assert list(searched.work.rglob("trial.json"))
