"""FusedTrainer, asked again about what the golden run's has read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.fused_trainer.executor import Executor
from components.many_inputs import input_key
from models import evaluation_model, signatures
from models.lending import read_saved_model
from models.predictions import read_predictions
from models.saved_functions import load_functions
from schema import contract
from tests.miniatures import miniature_backbones

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

pytestmark = pytest.mark.slow

NAMES = ("vgg16", "xception", "densenet121")
Inputs = dict[str, list[Any]]
Again = Callable[..., tuple[Any, str]]


def _made(golden: GoldenRun, kind: type[Any], node: str, key: str) -> Any:
    artifact = kind()
    (folder,) = (golden.layout.artifacts / node / key).iterdir()
    artifact.uri = str(folder)
    if kind is standard_artifacts.Examples:
        artifact.split_names = artifact_utils.encode_split_names(list(contract.SPLITS))
    return artifact


@pytest.fixture
def inputs(golden: GoldenRun) -> Inputs:
    graph = _made(golden, standard_artifacts.TransformGraph, "Transform", "transform_graph")
    found = {"transform_graph": [graph]}
    for name in NAMES:
        features = _made(golden, standard_artifacts.Examples, f"Featurizer.{name}", "features")
        found[input_key("features", name)] = [features]
        weights = _made(golden, standard_artifacts.Model, f"PretrainedBackbone.{name}", "model")
        found[input_key("backbone", name)] = [weights]
    return found


@pytest.fixture
def again(golden: GoldenRun, inputs: Inputs, tmp_path: Path) -> Again:
    """(fields) → the model artifact and the folder of its run."""

    def call(**fields: Any) -> tuple[Any, str]:
        model, run = standard_artifacts.Model(), standard_artifacts.ModelRun()
        model.uri, run.uri = str(tmp_path / "model"), str(tmp_path / "run")
        described = {name: {"scaling": None, "computed_by": f"by {name}"} for name in NAMES}
        given = {
            "classes": json.dumps(golden.summary["data"]["classes"]),
            "backbones": json.dumps(described),
            "validation": "cross",
            "abstain_accuracy": 0.99,
            "false_alarms": 0.01,
            "seed": golden.summary["seed"],
            "code_digest": "",
        }
        with miniature_backbones():
            Executor().Do(inputs, {"model": [model], "model_run": [run]}, given | fields)
        return model, run.uri

    return call


def _counts(golden: GoldenRun, *splits: str) -> int:
    return sum(sum(golden.summary["data"]["counts"][split].values()) for split in splits)


def test_it_comes_to_the_same_again_and_says_what_it_did(golden: GoldenRun, again: Again) -> None:
    model, run = again()
    (before,) = (golden.layout.artifacts / "Trainer.fusion" / "model_run").iterdir()
    for name in (contract.TRAINING_FILE, contract.VALIDATION_FILE, contract.PREDICTIONS_FILE):
        assert Path(run, name).read_text() == (before / name).read_text()
    predictions = read_predictions(run)
    assert len(predictions.sha256) == _counts(golden, "train", "eval")
    assert predictions.folds == 5
    history = json.loads(Path(run, contract.HISTORY_FILE).read_text())
    assert len(history["loss"]) == len(history["val_loss"]) == len(history["iteration"])
    recipe = json.loads(Path(run, contract.TRAINING_FILE).read_text())
    assert recipe["head"]["taps"]["vgg16"] == {"block4": 0.5, "last": 0.5}
    # What computed the features is in the digests, and so are the weights.
    members = evaluation_model.read_members(path_utils.eval_model_dir(model.uri))
    (folder,) = (golden.layout.artifacts / "Trainer.fusion" / "model").iterdir()
    earlier = evaluation_model.read_members(path_utils.eval_model_dir(str(folder)))
    assert {name: member.features for name, member in members.items()} == {
        name: member.features for name, member in earlier.items()
    }
    assert len({member.digest for member in (*members.values(), *earlier.values())}) == 6
    serving = path_utils.serving_model_path(model.uri)
    (graph,) = read_saved_model(serving).meta_graphs
    assert set(graph.signature_def) - {"__saved_model_init_op"} == {
        contract.SIGNATURE_DEFAULT,
        contract.SIGNATURE_EXAMPLES,
        contract.SIGNATURE_EXPLAIN,
    }
    # Its variables; to load its functions takes seconds, and who asks the golden run's does.
    names = [name.decode() for name in load_functions(serving).class_names.numpy()]
    assert names == golden.summary["data"]["classes"]


def test_held_out_images_judge_it_where_that_is_asked_for(
    golden: GoldenRun, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody asks for the SavedModel here.
    monkeypatch.setattr(signatures, "export", lambda *_: None)
    _, run = again(validation="holdout")
    predictions = read_predictions(run)
    assert len(predictions.sha256) == _counts(golden, "eval")
    assert predictions.folds == 0
    validation = json.loads(Path(run, contract.VALIDATION_FILE).read_text())
    assert validation["total"] == len(predictions.sha256)
    answers = predictions.probabilities[contract.FLAT]
    right = (np.argmax(answers, axis=1) == predictions.labels).mean()
    assert validation["accuracy"] == pytest.approx(right)


def test_features_of_other_images_are_an_error(
    inputs: Inputs, again: Again, tmp_path: Path
) -> None:
    features = inputs[input_key("features", "xception")][0]
    other = standard_artifacts.Examples()
    other.uri, other.split_names = str(tmp_path / "features"), features.split_names
    for split, read in ((contract.SPLIT_TRAIN, contract.SPLIT_TEST), (contract.SPLIT_EVAL,) * 2):
        shutil.copytree(Path(features.uri, f"Split-{read}"), Path(other.uri, f"Split-{split}"))
    inputs[input_key("features", "xception")] = [other]
    with pytest.raises(ValueError, match=r"features of .*xception.* are of different images"):
        again()
