"""Who wins, what is copied, and what the Pusher behind makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.champion import Champion
from components.champion.component import Candidate
from components.champion.executor import Executor, input_key
from components.model_card.artifact import ModelCardFiles
from models.predictions import Predictions, write_predictions
from schema import contract


@dataclass(frozen=True)
class Result:
    """One backbone's outcome: what its answers give the true class, image by image."""

    sure: float | tuple[float, ...]
    multiply_adds: int = 100
    blessed: bool = True

    @property
    def answers(self) -> Predictions:
        """To ten images, all of class 0."""
        sure = np.broadcast_to(np.asarray(self.sure), (10,))
        names = tuple(f"{number:064x}" for number in range(10))
        flat = np.stack([sure, 1 - sure], axis=1)
        return Predictions(names, np.zeros(10, int), {contract.FLAT: flat}, self.multiply_adds)


PROPERTIES = {"prefer": "accurate", "code_digest": ""}
KINDS = {
    "model": standard_artifacts.Model,
    "run": standard_artifacts.ModelRun,
    "blessing": standard_artifacts.ModelBlessing,
}


def _write(root: Path, name: str, result: Result) -> dict[str, Path]:
    """The artifacts' folders of one backbone, as Trainer and Evaluator leave them."""
    folders = {kind: root / kind / name for kind in KINDS}
    module = tf.Module()
    vocabulary = root / f"{name}.txt"
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text(name)
    module.vocabulary = tf.saved_model.Asset(str(vocabulary))
    module.name_of_backbone = tf.Variable(name)
    tf.saved_model.save(module, str(folders["model"] / "Format-Serving"))
    folders["run"].mkdir(parents=True)
    write_predictions(str(folders["run"]), result.answers)
    folders["blessing"].mkdir(parents=True)
    (folders["blessing"] / ("BLESSED" if result.blessed else "NOT_BLESSED")).touch()
    return folders


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


@dataclass(frozen=True)
class Decision:
    """The output artifacts, and where the candidates' models lie."""

    model: Any
    blessing: Any
    sources: Mapping[str, Path]

    @property
    def winner(self) -> str | None:
        return self.model.get_string_custom_property("backbone") or None


@pytest.fixture
def decide(tmp_path: Path) -> Callable[[Mapping[str, Result]], Decision]:
    """Backbone → Result; runs the executor by itself."""

    def run(results: Mapping[str, Result]) -> Decision:
        inputs: dict[str, list[Any]] = {}
        sources = {}
        for name, result in results.items():
            for kind, folder in _write(tmp_path / "candidates", name, result).items():
                artifact = KINDS[kind]()
                artifact.uri = str(folder)
                inputs[input_key(kind, name)] = [artifact]
            sources[name] = tmp_path / "candidates" / "model" / name / "Format-Serving"
        model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
        for artifact, key in ((model, "model"), (blessing, "blessing")):
            artifact.uri = str(tmp_path / "champion" / key)
            Path(artifact.uri).mkdir(parents=True)
        Executor().Do(inputs, {"model": [model], "blessing": [blessing]}, PROPERTIES)
        return Decision(model, blessing, sources)

    return run


Decide = Callable[[Mapping[str, Result]], Decision]


@pytest.mark.parametrize(
    ("results", "winner"),
    [
        ({"a": Result(0.8), "b": Result(0.9), "c": Result(0.7)}, "b"),
        # Nine of ten right, but too sure of the tenth: more wrong than hardly right ten times.
        ({"a": Result((0.99,) * 9 + (1e-9,)), "b": Result(0.6)}, "b"),
        ({"a": Result(0.9), "b": Result(0.99, blessed=False)}, "a"),
        ({"b": Result(0.9, 200), "a": Result(0.9, 300)}, "b"),
        ({"b": Result(0.9), "a": Result(0.9)}, "a"),
        ({"b": Result(0.9, blessed=False), "a_2": Result(0.1)}, "a_2"),
        ({"only": Result(0.4)}, "only"),
    ],
)
def test_the_best_blessed_by_validation_wins(
    decide: Decide, results: Mapping[str, Result], winner: str
) -> None:
    decision = decide(results)
    assert decision.winner == winner
    copied = Path(decision.model.uri, "Format-Serving")
    assert _tree(copied) == _tree(decision.sources[winner])
    assert decision.blessing.get_int_custom_property("blessed") == 1
    assert [path.name for path in Path(decision.blessing.uri).iterdir()] == ["BLESSED"]


def test_the_copy_loads(decide: Decide) -> None:
    decision = decide({"a": Result(0.8), "b": Result(0.9)})
    copied = Path(decision.model.uri, "Format-Serving")
    loaded = tf.saved_model.load(str(copied))
    assert loaded.name_of_backbone.numpy() == b"b"
    assert Path(loaded.vocabulary.asset_path.numpy().decode()).read_text() == "b"


def test_the_copy_says_in_which_precision_it_is_served_well(tmp_path: Path) -> None:
    inputs: dict[str, list[Any]] = {}
    for kind, folder in _write(tmp_path / "candidates", "a", Result(0.9)).items():
        artifact = KINDS[kind]()
        artifact.uri = str(folder)
        inputs[input_key(kind, "a")] = [artifact]
    infra = standard_artifacts.InfraBlessing()
    infra.set_int_custom_property("blessed", 1)
    infra.set_string_custom_property("precision", "f32")
    inputs[input_key("infra", "a")] = [infra]
    model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    model.uri, blessing.uri = str(tmp_path / "model"), str(tmp_path / "blessing")
    Executor().Do(inputs, {"model": [model], "blessing": [blessing]}, PROPERTIES)
    note = tmp_path / "model" / "Format-Serving" / contract.SERVING_NOTE_FILE
    assert json.loads(note.read_text()) == {"precision": "f32"}


def test_the_winners_card_lies_beside_its_copy_and_says_nothing_in_the_choice(
    tmp_path: Path,
) -> None:
    inputs: dict[str, list[Any]] = {}
    for name, sure, tested in (("a", 0.8, 1.0), ("b", 0.9, 0.1)):
        folders = _write(tmp_path / "candidates", name, Result(sure))
        folders["card"] = tmp_path / "candidates" / "card" / name
        folders["card"].mkdir(parents=True)
        (folders["card"] / contract.MODEL_CARD_FILE).write_text(f"# {name}")
        card = {"name": name, "results": {"accuracy": {"value": tested}}}
        (folders["card"] / contract.MODEL_CARD_DATA_FILE).write_text(json.dumps(card))
        (folders["card"] / Path(contract.RENDERING_NOTE_FILE).name).write_text(name)
        for kind, folder in folders.items():
            artifact = (KINDS | {"card": ModelCardFiles})[kind]()
            artifact.uri = str(folder)
            inputs[input_key(kind, name)] = [artifact]
    model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    model.uri, blessing.uri = str(tmp_path / "model"), str(tmp_path / "blessing")
    Executor().Do(inputs, {"model": [model], "blessing": [blessing]}, PROPERTIES)
    assert model.get_string_custom_property("backbone") == "b"
    beside = tmp_path / "model" / "Format-Serving" / contract.EXTRA_ASSETS
    assert _tree(beside) == _tree(tmp_path / "candidates" / "card" / "b")
    source = tmp_path / "candidates" / "model" / "b" / "Format-Serving"
    assert not (source / contract.EXTRA_ASSETS).exists()


def test_none_blessed_none_chosen(decide: Decide) -> None:
    decision = decide({"a": Result(0.8, blessed=False), "b": Result(0.9, blessed=False)})
    assert decision.winner is None
    assert _tree(Path(decision.model.uri)) == {}
    assert decision.blessing.get_int_custom_property("blessed") == 0
    assert decision.blessing.has_custom_property("blessed")
    assert [path.name for path in Path(decision.blessing.uri).iterdir()] == ["NOT_BLESSED"]


def _importer(kind: str, name: str, folder: Path) -> Any:
    return tfx.dsl.Importer(source_uri=str(folder), artifact_type=KINDS[kind]).with_id(
        f"{kind}.{name}"
    )


def _candidates(root: Path, results: Mapping[str, Result]) -> tuple[list[Any], Any]:
    """Importers of the candidates' artifacts, and a Champion behind them."""
    importers: list[Any] = []
    candidates = {}
    for name, result in results.items():
        folders = _write(root, name, result)
        nodes = {kind: _importer(kind, name, folder) for kind, folder in folders.items()}
        channels = {kind: node.outputs["result"] for kind, node in nodes.items()}
        candidates[name] = Candidate(channels["model"], channels["run"], channels["blessing"])
        importers += nodes.values()
    return importers, Champion(candidates, prefer="accurate", code_digest="")


def test_no_result_on_the_test_split_reaches_the_choice(tmp_path: Path) -> None:
    """The only node that sees the test split is Evaluator; its yes or no is all that counts."""
    _, champion = _candidates(tmp_path, {"a": Result(0.8), "b": Result(0.9)})
    kinds = {channel.type for channel in champion.inputs.values()}
    assert kinds == set(KINDS.values())
    assert champion.inputs.keys() == {
        "model_a", "run_a", "blessing_a", "model_b", "run_b", "blessing_b",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("blessed", [True, False])
def test_the_pusher_behind_pushes_the_champion_or_nothing(
    launch: Callable[..., Any], tmp_path: Path, blessed: bool
) -> None:
    results = {"a": Result(0.8, blessed=blessed), "b": Result(0.9, blessed=False)}
    importers, champion = _candidates(tmp_path / "candidates", results)
    serving = tmp_path / "serving"
    pusher = tfx.components.Pusher(
        model=champion.outputs["model"],
        model_blessing=champion.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(serving))
        ),
    )
    connection = launch(*importers, champion, pusher)
    store = mlmd.MetadataStore(connection)
    (pushed,) = store.get_artifacts_by_type("PushedModel")
    (model,) = (a for a in store.get_artifacts_by_type("Model") if "Champion" in a.uri)
    assert pushed.custom_properties["pushed"].int_value == blessed
    assert model.custom_properties["backbone"].string_value == ("a" if blessed else "")
    if blessed:
        (version,) = serving.iterdir()
        source = tmp_path / "candidates" / "model" / "a" / "Format-Serving"
        assert _tree(version) == _tree(source)
    else:
        assert not serving.exists()
        assert _tree(Path(model.uri)) == {}
        assert _tree(Path(pushed.uri)) == {}
