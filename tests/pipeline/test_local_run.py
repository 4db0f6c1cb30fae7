"""The whole DAG on phantoms, through `cxr run`: what the golden run did, and what it pushed."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from components.radiograph_example_gen.manifest import Entry, read_manifest
from pipeline import cli
from pipeline.runs.diff import diff
from pipeline.runs.record import read_records
from schema import contract
from tests.miniatures import miniature_backbones

if TYPE_CHECKING:
    from models.engines import EngineName
    from pipeline.local.summary import RunOutputs
    from tests.golden_run import GoldenRun
    from tests.pipeline.conftest import Run

pytestmark = pytest.mark.slow

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
BACKBONES = ["vgg16", "xception", "densenet121"]
MODELS = [*BACKBONES, "ensemble", "cascade", "fusion"]


@pytest.fixture(scope="module")
def outputs(golden: GoldenRun) -> RunOutputs:
    """The golden run's artifacts."""
    from pipeline.local.summary import read_run

    return read_run(golden.layout)


@pytest.fixture(scope="module")
def entries(outputs: RunOutputs) -> list[Entry]:
    """The test split."""
    manifest = outputs.uri("RadiographExampleGen", "manifest")
    return [entry for entry in read_manifest(manifest) if entry.split == contract.SPLIT_TEST]


@pytest.fixture(scope="module")
def answers(golden: GoldenRun) -> dict[str, dict[str, list[float]]]:
    """Model -> digest of a test image -> probabilities, as the Evaluator kept them."""
    kept = json.loads((golden.layout.report / "answers.json").read_text())
    return {
        model: dict(zip(found["sha256"], found["probabilities"], strict=True))
        for model, found in kept.items()
    }


def test_a_first_run_takes_nothing_from_a_cache_and_says_what_it_lacks(golden: GoldenRun) -> None:
    first = golden.first
    assert first.exit_code == cli.EXIT_PUSHED
    assert first.cached == set()
    some = {"RadiographExampleGen", "Trainer.vgg16", "Combiner.cascade", "Pusher.champion"}
    assert some <= first.executed
    assert "RANDOM weights" in first.printed


def test_the_same_again_computes_nothing_and_comes_to_the_same(golden: GoldenRun) -> None:
    first, second = golden.first, golden.second
    assert second.exit_code == cli.EXIT_PUSHED, second.printed
    assert second.executed == set()
    assert second.cached == first.executed
    assert {"Combiner.ensemble", "Combiner.cascade", "Pusher.cascade", "Report"} <= second.cached
    assert second.served == first.served != {}
    for key in ("data", "audit", "models", "champion", "champion_pushed_to"):
        assert golden.summary[key] == golden.first_summary[key]


def test_nothing_is_written_outside_the_output_folder(golden: GoldenRun) -> None:
    assert golden.first.left == golden.second.left == []
    assert golden.phantoms_changed == []


def test_the_output_folder_holds_what_is_documented_and_nothing_temporary(
    golden: GoldenRun,
) -> None:
    assert {path.name for path in golden.layout.root.iterdir()} == {
        "artifacts",
        "features",
        "pushed",
        "inventory.json",
        "logs",
        "metadata.sqlite",
        "report",
        "runs",
        "serving",
        contract.SUMMARY_FILE,
    }


def test_each_run_wrote_down_what_it_was_and_came_to(golden: GoldenRun) -> None:
    found = read_records(golden.layout)
    assert found.unreadable == {}
    first, second = found.readable
    # Up to what JSON makes of it.
    assert json.loads(first.result.model_dump_json()) == golden.first_summary
    assert json.loads(second.result.model_dump_json()) == golden.summary
    for record, printed in ((first, golden.first), (second, golden.second)):
        assert (record.state, record.exit) == ("complete", printed.exit_code)
        assert {name: node.how for name, node in record.nodes.items()} == printed.how
        assert record.gone(golden.layout) == 0
    own = {name for name, node in first.nodes.items() if node.code}
    stock = ("StatisticsGen", "ExampleValidator", "CuratedSchemaGen", "PreviousStatistics")
    others = {name for name in first.nodes if name.startswith(("Baseline.", "Pusher."))}
    assert own == first.nodes.keys() - {*stock, *others}
    compared = diff(first, second)
    assert (compared.configuration, compared.code) == ((), ())
    assert compared.to_json(golden.layout)["same_data"] is True


def test_the_summary_has_the_keys_of_its_specification(golden: GoldenRun) -> None:
    summary = golden.first_summary
    beyond = {"champion_pushed_to"}
    assert set(summary) == beyond | {
        *("tfx_version", "preset", "seed", "data", "audit", "models", "champion", "seconds")
    }
    assert set(summary["audit"]) == {"passed", "failures", "findings", "report"}
    beyond = {"bad", "left_out", "deviations", "could_not_know", "digest", "manifest"}
    assert set(summary["data"]) == beyond | {
        *("classes", "counts", "duplicates_dropped", "patients_in_two_splits")
    }
    assert list(summary["models"]) == MODELS
    for model in summary["models"].values():
        assert set(model) == {
            *("weights", "accuracy", "correct", "total", "confusion", "wilson95", "blessed"),
            *("members", "gate", "baseline", "refused_because", "infra_validation", "abstain"),
            *("pushed_to", "training", "tuned"),
        }
    assert set(summary["seconds"]) == {*golden.first.how, "total"}


def test_the_summary_tells_of_the_run_and_its_data(golden: GoldenRun) -> None:
    import tfx

    summary = golden.first_summary
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
    # Two at a time at most.
    assert 2 * summary["seconds"]["total"] >= sum(nodes)


def test_the_summary_tells_of_the_models(golden: GoldenRun) -> None:
    summary = golden.summary
    for name, model in summary["models"].items():
        assert model["weights"] == ("random" if name in BACKBONES else None)
        assert model["total"] == 18
        assert [sum(row) for row in model["confusion"]] == [6, 6, 6]
        assert model["correct"] == sum(model["confusion"][i][i] for i in range(3))
        assert model["accuracy"] == pytest.approx(model["correct"] / 18)
        low, high = model["wilson95"]
        assert 0 < low < model["accuracy"] <= high <= 1
    pushed = {name: model["pushed_to"] for name, model in summary["models"].items()}
    pushed[contract.CHAMPION] = summary["champion_pushed_to"]
    for name, folder in pushed.items():
        assert Path(folder).parent == golden.layout.serving / name
        assert (Path(folder) / contract.SAVED_MODEL_FILE).is_file()


@pytest.fixture(scope="module")
def load() -> Callable[[Path], Any]:
    """A pushed version -> its two signatures for images, loaded once.

    To load what isn't asked takes TensorFlow as long again (tests/models/test_saved_functions.py
    shows that the answers are the same).
    """
    from models.saved_functions import load_functions

    asked = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES)
    return functools.cache(lambda version: load_functions(str(version), signatures=asked))


@pytest.mark.long
def test_every_pushed_model_answers_raw_bytes_as_it_was_evaluated(
    golden: GoldenRun,
    answers: dict[str, dict[str, list[float]]],
    entries: list[Entry],
    load: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was kept of the evaluation, TFMA's confusion matrix, and the served models: the same."""
    from serving.local_client import latest_version
    from serving.protocol.tensors import strings
    from serving.servables import tensorflow_servable
    from serving.servables.tensorflow_servable import TensorFlowServable

    monkeypatch.setattr(tensorflow_servable, "load_saved_model", load)
    labels = [CLASSES.index(entry.class_name) for entry in entries]
    # Two of each class.
    some = [entry for name in CLASSES for entry in entries if entry.class_name == name][::3]
    for name in MODELS:
        confusion = np.zeros((3, 3), int)
        kept = [int(np.argmax(answers[name][entry.sha256])) for entry in entries]
        np.add.at(confusion, (labels, kept), 1)
        assert confusion.tolist() == golden.summary["models"][name]["confusion"]
        served = TensorFlowServable(latest_version(golden.layout.serving, name))
        images = strings([(golden.data / entry.file).read_bytes() for entry in some])
        found = served.run("", {contract.INPUT_IMAGES: images})
        wanted = np.array([answers[name][entry.sha256] for entry in some])
        assert len(wanted) == 6
        np.testing.assert_allclose(found[contract.OUTPUT_PROBABILITIES], wanted, atol=2e-5)
        for names, predicted, row in zip(
            found[contract.OUTPUT_CLASSES],
            found[contract.OUTPUT_PREDICTED],
            wanted,
            strict=True,
        ):
            assert [each.decode() for each in names] == CLASSES
            assert predicted.decode() == CLASSES[int(np.argmax(row))]


def test_cxr_predict_asks_a_combination_by_its_name(
    golden: GoldenRun,
    answers: dict[str, dict[str, list[float]]],
    entries: list[Entry],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = entries[0]
    file = golden.data / entry.file
    serving = str(golden.layout.serving)
    arguments = ["predict", str(file), "--model-dir", serving, "--model", "ensemble"]
    monkeypatch.setattr("sys.argv", ["cxr", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr().out
    assert not stopped.value.code, printed
    assert file.name in printed
    for probability in answers["ensemble"][entry.sha256]:
        assert f"{probability:.3f}" in printed


def test_the_evaluation_holds_the_metrics_and_slices_that_are_promised(
    outputs: RunOutputs,
) -> None:
    from components.evaluator.results import candidate_result

    result = candidate_result(outputs.uri("Evaluator.xception", "evaluation"))
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


def test_the_confidence_curve_begins_with_all_images(
    golden: GoldenRun, outputs: RunOutputs
) -> None:
    from components.evaluator.results import confidence_curve

    curve = confidence_curve(outputs.uri("Evaluator.xception", "evaluation"))
    model = golden.summary["models"]["xception"]
    assert curve[0] == (0.0, model["total"], model["correct"])
    # A third of three classes is the least that the highest probability can be.
    assert curve[33] == (0.33, model["total"], model["correct"])
    answered = [count for _, count, _ in curve]
    assert answered == sorted(answered, reverse=True)
    assert answered[-1] < answered[0]


def test_cxr_runs_lists_both_runs_as_their_summaries_did_and_finds_no_difference(
    golden: GoldenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*arguments: str) -> Any:
        command = ["cxr", "runs", *arguments, "--output", str(golden.layout.root), "--json"]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr("sys.argv", command)
            cli.main()
        assert not stopped.value.code
        return json.loads(capsys.readouterr().out)

    listed = printed()
    both = ((golden.first, golden.first_summary), (golden.second, golden.summary))
    for run, (seen, summary) in zip(listed, both, strict=True):
        assert run["state"] == "complete"
        assert run["seed"] == summary["seed"]
        assert run["data"]["digest"] == summary["data"]["digest"]
        assert run["data"]["counts"] == summary["data"]["counts"]
        assert run["champion"] == summary["champion"]
        assert set(run["models"]) == set(MODELS)
        for name, model in run["models"].items():
            for key in ("accuracy", "correct", "total", "blessed", "pushed_to"):
                assert model[key] == summary["models"][name][key]
        assert run["nodes"] == {"executed": len(seen.executed), "cached": len(seen.cached)}
        assert run["artifacts"]["gone"] == 0
        # The record goes on until the report lies where people look for it.
        assert run["seconds"] >= summary["seconds"]["total"] > 0
    same = printed("diff", listed[0]["run"], listed[1]["run"])
    assert (same["configuration"], same["code"], same["same_data"]) == ([], [], True)
    hows = {(node["a"], node["b"]) for node in same["nodes"].values()}
    assert hows == {("executed", "cached")}


@pytest.fixture(scope="module")
def miniatures() -> Iterator[None]:
    """As in the golden run."""
    with miniature_backbones():
        yield


@pytest.mark.usefixtures("miniatures")
def test_cached_features_are_those_of_the_raw_image(
    golden: GoldenRun, outputs: RunOutputs, entries: list[Entry]
) -> None:
    """Through ExampleGen, Transform and Featurizer, or straight from the file: the same."""
    import tensorflow as tf
    from tfx.utils import path_utils

    from models.backbones import get_backbone
    from models.engines import TENSORFLOW
    from models.prefix import Job, Prefix
    from models.preprocessing import decode_and_resize

    backbone = path_utils.serving_model_path(outputs.uri("PretrainedBackbone.vgg16", "model"))
    features = outputs.get("Featurizer.vgg16", "features")
    assert features is not None
    engine = cast("EngineName", features.custom_properties["engine"].string_value)
    taps = get_backbone("vgg16").head_taps
    job = Job("vgg16", None, ("head",), backbone, taps, engine)
    prefix, served = Prefix(job), Prefix(job._replace(engine=TENSORFLOW))
    assert engine == prefix.engine != TENSORFLOW
    by_hash = {entry.sha256: entry for entry in entries}
    files = tf.io.gfile.glob(f"{features.uri}/Split-test/features-*")
    compared = 0
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        entry = by_hash[fields[contract.SHA256].bytes_list.value[0].decode()]
        image = decode_and_resize((golden.data / entry.file).read_bytes())
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
    golden: GoldenRun, outputs: RunOutputs, load: Callable[[Path], Any]
) -> None:
    import tensorflow as tf

    from serving.local_client import latest_version

    files = tf.io.gfile.glob(outputs.uri("RadiographExampleGen", "examples") + "/Split-test/*")
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    model = load(latest_version(golden.layout.serving, golden.summary["champion"]))
    by_examples = model.signatures["serve_examples"](examples=tf.constant(records))
    paths = [
        tf.train.Example.FromString(r).features.feature[contract.PATH].bytes_list.value[0].decode()
        for r in records
    ]
    by_images = model.signatures["serving_default"](
        image_bytes=tf.constant([(golden.data / path).read_bytes() for path in paths])
    )
    # Two graphs, which another kind of CPU may compute in another order.
    np.testing.assert_allclose(
        by_examples["probabilities"], by_images["probabilities"], rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(by_examples["predicted_class"], by_images["predicted_class"])
    assert len(records) == 18


@pytest.mark.usefixtures("miniatures")
def test_a_study_with_the_runs_seed_comes_to_the_same(
    golden: GoldenRun, outputs: RunOutputs, tmp_path: Path
) -> None:
    from models.predictions import aligned, read_predictions
    from pipeline.config.pipeline_config import load_config
    from pipeline.study.command import run_study
    from pipeline.study.screen import StudyScreen

    config = load_config(
        golden.folder / "settings.yaml",
        overrides={
            "data": {"dir": golden.data},
            "output": tmp_path / "study",
            "backbones": ["xception"],
        },
    )
    report = run_study(config, (3,), StudyScreen(1))
    (split,) = report["data"]["splits"]
    assert split["digest"] == golden.summary["data"]["digest"]
    result = json.loads((tmp_path / "study/results/xception/seed-3.json").read_text())
    model_run = Path(outputs.uri("Trainer.xception", "model_run"))
    validation = json.loads((model_run / contract.VALIDATION_FILE).read_text())
    # A study fits no input gate.
    assert validation.pop("input_gate")["images"] == result["validation"]["total"]
    assert result["validation"] == validation
    (answers,) = aligned([read_predictions(str(model_run))])
    assert sorted(result["eval"]["sha256"]) == list(answers.sha256)
    # The Evaluator asks the served model, TensorFlow from the image on.
    model = golden.summary["models"]["xception"]
    assert report["models"]["xception"]["confusion"] == model["confusion"]
    assert report["models"]["xception"]["weights"] == "random"


@pytest.mark.long
def test_the_papers_preset_with_metadata_from_elsewhere_and_an_image_that_is_there_twice(
    run: Run, phantom_folder: Path, tmp_path: Path
) -> None:
    from pipeline.config.layout import OutputLayout
    from pipeline.local.summary import read_run

    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    table = tmp_path / "table.csv"
    (data / "metadata.csv").rename(table)
    with table.open(newline="") as file:
        patients = {row["file"]: row["patient_id"] for row in csv.DictReader(file)}
    table.write_text(table.read_text() + "NORMAL/gone.png,NORMAL,,,,,,\n")
    image = sorted((data / "NORMAL").glob("*.png"))[0]
    shutil.copy(image, image.with_name("again.png"))
    paper: dict[str, Any] = {
        "preset": "paper",
        "allow_random_weights": True,
        "gate": {"min_accuracy": 0.0},
        "training": {},
        "training_overrides": {"tiny": {"epochs": 1}},
    }

    outcome = run(tmp_path / "output", "--metadata", str(table), data=data, config=paper)

    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    left_out = outcome.summary["data"]["left_out"]
    assert left_out["metadata row without image"] == 1
    assert outcome.summary["data"]["duplicates_dropped"] == left_out["duplicate"] == 1
    outputs = read_run(OutputLayout(outcome.output))
    entries = read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
    assert {e.file: e.patient for e in entries} == {e.file: patients[e.file] for e in entries}
    assert all(e.patient for e in entries)
    assert len(entries) == 90
    folder = Path(outputs.uri("Trainer.tiny", "model_run"))
    history = json.loads((folder / contract.HISTORY_FILE).read_text())
    assert len(history["loss"]) == 1
    assert set(history) >= {"loss", "accuracy", "val_loss", "val_accuracy"}
