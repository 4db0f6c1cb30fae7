"""The whole DAG on phantoms, through `cxr run`, with a backbone that takes no time."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from components.radiograph_example_gen.manifest import read_manifest
from pipeline import cli
from pipeline.layout import OutputLayout
from schema import contract

if TYPE_CHECKING:
    from models.engines import EngineName
    from tests.pipeline.conftest import Outcome, Run, Snapshot

pytestmark = pytest.mark.slow

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]


@dataclass(frozen=True)
class FirstRun:
    """A run that started in a folder of its own, and what it left there."""

    outcome: Outcome
    left_elsewhere: dict[str, int]
    images_before: dict[str, int]
    images_after: dict[str, int]


@pytest.fixture(scope="module")
def first_run(
    run: Run, snapshot: Snapshot, phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FirstRun:
    """One run that the tests of this module share; none of them may write into its output."""
    # With a blank, which users' folders have.
    output = tmp_path_factory.mktemp("first run") / "output"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    images_before = snapshot(phantom_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setenv("TMPDIR", str(elsewhere))
        outcome = run(output)
    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    return FirstRun(outcome, snapshot(elsewhere), images_before, snapshot(phantom_folder))


@pytest.fixture(scope="module")
def first(first_run: FirstRun) -> Outcome:
    """What the shared run did."""
    return first_run.outcome


def test_a_first_run_takes_nothing_from_a_cache_and_says_what_it_lacks(first: Outcome) -> None:
    assert first.cached == set()
    assert {"RadiographExampleGen", "Trainer.tiny", "Pusher.champion"} <= first.executed
    assert "RANDOM weights" in first.printed


def test_nothing_is_written_outside_the_output_folder(first_run: FirstRun) -> None:
    assert first_run.left_elsewhere == {}
    assert first_run.images_after == first_run.images_before


def test_the_output_folder_holds_what_is_documented_and_nothing_temporary(first: Outcome) -> None:
    assert {path.name for path in first.output.iterdir()} == {
        "artifacts",
        "logs",
        "metadata.sqlite",
        "report",
        "serving",
        contract.SUMMARY_FILE,
    }


def test_the_summary_has_the_keys_of_its_specification(first: Outcome) -> None:
    summary = first.summary
    beyond = {"champion_pushed_to"}
    assert set(summary) == beyond | {
        *("tfx_version", "preset", "seed", "data", "audit", "models", "champion", "seconds")
    }
    assert set(summary["audit"]) == {"passed", "failures", "findings", "report"}
    beyond = {"bad", "left_out", "deviations", "digest", "manifest"}
    assert set(summary["data"]) == beyond | {
        *("classes", "counts", "duplicates_dropped", "patients_in_two_splits")
    }
    assert set(summary["models"]) == {"tiny"}
    assert set(summary["models"]["tiny"]) == {
        *("weights", "accuracy", "correct", "total", "confusion", "wilson95", "blessed"),
        *(
            "members",
            "gate",
            "refused_because",
            "infra_validation",
            "abstain",
            "pushed_to",
            "training",
            "tuned",
        ),
    }
    assert set(summary["seconds"]) == {*first.how, "total"}


def test_the_summary_tells_of_the_run_and_its_data(first: Outcome) -> None:
    import tfx

    summary = first.summary
    assert summary["tfx_version"] == tfx.__version__
    assert summary["preset"] == "demo"
    assert summary["seed"] == 3
    data = summary["data"]
    assert data["classes"] == CLASSES
    assert list(data["counts"]) == ["train", "eval", "test"]
    for split, wanted in {"train": 17, "eval": 7, "test": 6}.items():
        assert data["counts"][split] == dict.fromkeys(CLASSES, wanted)
    assert data["duplicates_dropped"] == 0
    assert data["patients_in_two_splits"] == 0
    nodes = [seconds for node, seconds in summary["seconds"].items() if node != "total"]
    assert summary["seconds"]["total"] >= sum(nodes)


def test_the_summary_tells_of_the_model(first: Outcome) -> None:
    assert first.summary["champion"] == "tiny"
    model = first.summary["models"]["tiny"]
    assert model["weights"] == "random"
    assert model["blessed"] is True
    assert model["total"] == 18
    assert [sum(row) for row in model["confusion"]] == [6, 6, 6]
    assert model["correct"] == sum(model["confusion"][i][i] for i in range(3))
    assert model["accuracy"] == pytest.approx(model["correct"] / 18)
    low, high = model["wilson95"]
    assert 0 < low < model["accuracy"] <= high <= 1
    serving = first.output.resolve() / "serving"
    for name, pushed in (("tiny", model["pushed_to"]), ("champion", _champion(first))):
        assert Path(pushed).parent == serving / name
        assert (Path(pushed) / "saved_model.pb").is_file()


def _champion(outcome: Outcome) -> str:
    return str(outcome.summary["champion_pushed_to"])


def test_the_evaluation_is_that_of_the_pushed_model_on_raw_bytes(
    first: Outcome, phantom_folder: Path
) -> None:
    """TFMA's confusion matrix against the SavedModel, asked with the PNG files."""
    import tensorflow as tf

    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    entries = [
        e
        for e in read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
        if e.split == "test"
    ]
    model = tf.saved_model.load(first.summary["models"]["tiny"]["pushed_to"])
    confusion = np.zeros((3, 3), int)
    for entry in entries:
        answer = model.signatures["serving_default"](
            image_bytes=tf.constant([(phantom_folder / entry.file).read_bytes()])
        )
        predicted = answer["predicted_class"].numpy()[0].decode()
        confusion[CLASSES.index(entry.class_name), CLASSES.index(predicted)] += 1
    assert confusion.tolist() == first.summary["models"]["tiny"]["confusion"]


def test_the_evaluation_holds_the_metrics_and_slices_that_are_promised(first: Outcome) -> None:
    from components.evaluation_results import candidate_result
    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    result = candidate_result(outputs.uri("Evaluator.tiny", "evaluation"))
    slices = dict(result.slicing_metrics)
    further = "metadata/scanner"
    assert {key[0][0] for key in slices if key} == {*contract.SLICE_FEATURES, further}
    scanners = {key[0][1] for key in slices if key and key[0][0] == further}
    assert scanners == {"CR 30", "DX-100", contract.UNKNOWN}
    overall = slices[()][""]
    assert {"accuracy", "example_count"} <= set(overall[""])
    for index in range(3):
        one_class = {"precision", "recall", "f1", "auc"}
        assert one_class <= set(overall[f"classId:{index}"])
    plots = dict(result.plots)[()][""]
    assert "multiClassConfusionMatrixAtThresholds" in plots[""]
    assert "calibrationHistogramBuckets" in plots["classId:0"]


def test_cached_features_are_those_of_the_raw_image(first: Outcome, phantom_folder: Path) -> None:
    """Through ExampleGen, Transform and Featurizer, or straight from the file: the same."""
    import tensorflow as tf
    from tfx.utils import path_utils

    from models.engines import TENSORFLOW
    from models.prefix import Job, Prefix
    from models.preprocessing import decode_and_resize
    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    backbone = path_utils.serving_model_path(outputs.uri("PretrainedBackbone.tiny", "model"))
    features = outputs.get("Featurizer.tiny", "features")
    assert features is not None
    engine = cast("EngineName", features.custom_properties["engine"].string_value)
    job = Job("tiny", None, ("head",), backbone, ("block1", "last"), engine)
    prefix, served = Prefix(job), Prefix(job._replace(engine=TENSORFLOW))
    assert engine == prefix.engine != TENSORFLOW
    entries = read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
    by_hash = {e.sha256: e for e in entries}
    files = tf.io.gfile.glob(outputs.uri("Featurizer.tiny", "features") + "/Split-test/features-*")
    compared = 0
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        entry = by_hash[fields[contract.SHA256].bytes_list.value[0].decode()]
        image = decode_and_resize((phantom_folder / entry.file).read_bytes())
        of_the_graph = served(image[tf.newaxis])
        for name, expected in prefix(image[tf.newaxis]).items():
            raw = fields[contract.FEATURE_PREFIX + name].bytes_list.value[0]
            stored = np.frombuffer(raw, "float32")
            np.testing.assert_array_equal(stored, expected[0])
            other = of_the_graph[name][0]
            cosine = stored @ other / (np.linalg.norm(stored) * np.linalg.norm(other))
            assert cosine > 0.999
        compared += 1
    assert compared == 18


def test_both_signatures_agree_on_what_example_gen_wrote(
    first: Outcome, phantom_folder: Path
) -> None:
    import tensorflow as tf

    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    files = tf.io.gfile.glob(outputs.uri("RadiographExampleGen", "examples") + "/Split-test/*")
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    model = tf.saved_model.load(first.summary["models"]["tiny"]["pushed_to"])
    by_examples = model.signatures["serve_examples"](examples=tf.constant(records))
    paths = [
        tf.train.Example.FromString(r).features.feature[contract.PATH].bytes_list.value[0].decode()
        for r in records
    ]
    by_images = model.signatures["serving_default"](
        image_bytes=tf.constant([(phantom_folder / path).read_bytes() for path in paths])
    )
    # Two graphs, which another kind of CPU may compute in another order.
    np.testing.assert_allclose(
        by_examples["probabilities"], by_images["probabilities"], rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(by_examples["predicted_class"], by_images["predicted_class"])
    assert len(records) == 18


def test_the_paper_preset_runs_an_epoch(run: Run, tmp_path: Path) -> None:
    paper = {
        "preset": "paper",
        "allow_random_weights": True,
        "gate": {"min_accuracy": 0.0},
        "training": {},
        "training_overrides": {"tiny": {"epochs": 1}},
    }
    outcome = run(tmp_path / "output", config=paper)
    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    from pipeline.summary import read_run

    history = json.loads(
        Path(
            read_run(OutputLayout(outcome.output)).uri("Trainer.tiny", "model_run"),
            contract.HISTORY_FILE,
        ).read_text()
    )
    assert len(history["loss"]) == 1
    assert set(history) >= {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_metadata_from_another_place_and_an_image_that_is_there_twice(
    run: Run, phantom_folder: Path, tmp_path: Path
) -> None:
    from pipeline.summary import read_run

    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    table = tmp_path / "table.csv"
    (data / "metadata.csv").rename(table)
    with table.open(newline="") as file:
        patients = {row["file"]: row["patient_id"] for row in csv.DictReader(file)}
    table.write_text(table.read_text() + "NORMAL/gone.png,NORMAL,,,,,,\n")
    image = sorted((data / "NORMAL").glob("*.png"))[0]
    shutil.copy(image, image.with_name("again.png"))
    barely: dict[str, Any] = {"gate": {"min_accuracy": 0.0}, "training": {"epochs": 1}}

    outcome = run(tmp_path / "output", "--metadata", str(table), data=data, config=barely)

    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    left_out = outcome.summary["data"]["left_out"]
    assert left_out["metadata row without image"] == 1
    assert outcome.summary["data"]["duplicates_dropped"] == left_out["duplicate"] == 1
    outputs = read_run(OutputLayout(outcome.output))
    entries = read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
    assert {e.file: e.patient for e in entries} == {e.file: patients[e.file] for e in entries}
    assert all(e.patient for e in entries)
    assert len(entries) == 90


def test_a_study_with_the_runs_seed_comes_to_the_same(
    first: Outcome, phantom_folder: Path, tmp_path: Path
) -> None:
    from models.predictions import aligned, read_predictions
    from pipeline.config import load_config
    from pipeline.study.command import run_study
    from pipeline.study.screen import StudyScreen

    config = load_config(
        first.output.parent / "output.yaml",
        overrides={"data": {"dir": phantom_folder}, "output": tmp_path / "study"},
    )
    report = run_study(config, (3,), StudyScreen(1))
    (split,) = report["data"]["splits"]
    assert split["digest"] == first.summary["data"]["digest"]
    result = json.loads((tmp_path / "study/results/tiny/seed-3.json").read_text())
    (model_run,) = (first.output / "artifacts/Trainer.tiny/model_run").iterdir()
    validation = json.loads((model_run / contract.VALIDATION_FILE).read_text())
    assert result["validation"] == validation
    (answers,) = aligned([read_predictions(str(model_run))])
    assert sorted(result["eval"]["sha256"]) == list(answers.sha256)
    # The Evaluator asks the served model, TensorFlow from the image on.
    assert report["models"]["tiny"]["confusion"] == first.summary["models"]["tiny"]["confusion"]
    assert report["models"]["tiny"]["weights"] == "random"
