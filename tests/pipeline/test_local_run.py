"""The whole DAG on phantoms, through `cxr run`, with a backbone that takes no time."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.radiograph_example_gen.manifest import read_manifest
from pipeline import cli
from pipeline.layout import OutputLayout
from pipeline.progress import How, NodeClock
from schema import contract

pytestmark = pytest.mark.slow

# What depends on the training recipe; all else must come from the cache.
FROM_THE_TRAINER_ON = {"Trainer", "Evaluator", "Champion", "Pusher"}


@dataclass
class Outcome:
    """What one `cxr run` did."""

    exit_code: int
    printed: str
    how: dict[str, How]
    output: Path
    summary: dict[str, Any]

    @property
    def cached(self) -> set[str]:
        return {node for node, how in self.how.items() if how == "cached"}

    @property
    def executed(self) -> set[str]:
        return {node for node, how in self.how.items() if how == "executed"}


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tiny_backbone: str, phantom_folder: Path) -> Run:
    """Runs `cxr run` in this process, as the console script would."""

    def call(
        output: Path,
        *arguments: str,
        capsys: pytest.CaptureFixture[str],
        data: Path = phantom_folder,
        config: dict[str, Any] | None = None,
    ) -> Outcome:
        import yaml

        settings = {
            "preset": "demo",
            "backbones": [tiny_backbone],
            "gate": {"min_accuracy": 0.5},
            "training": {"learning_rate": 0.01, "epochs": 60},
        } | (config or {})
        output.mkdir(parents=True, exist_ok=True)
        file = output.parent / f"{output.name}.yaml"
        file.write_text(yaml.safe_dump(settings))
        clocks: list[NodeClock] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NodeClock, "__post_init__", _remembering(clocks))
            exit_code = _cxr(
                [*f"run --data {data} --output {output} --config {file}".split(), *arguments]
            )
        clock = clocks[0] if clocks else None
        how = clock.how if clock else {}
        captured = capsys.readouterr()
        written = output / contract.SUMMARY_FILE
        summary = json.loads(written.read_text()) if written.exists() else {}
        return Outcome(exit_code, captured.out + captured.err, how, output, summary)

    return call


def _remembering(clocks: list[NodeClock]) -> Callable[[NodeClock], None]:
    original = NodeClock.__post_init__

    def post_init(self: NodeClock) -> None:
        original(self)
        clocks.append(self)

    return post_init


def _cxr(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["cxr", *arguments])
        cli.main()
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def first_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first") / "output"


@pytest.fixture
def first(run: Run, first_output: Path, capsys: pytest.CaptureFixture[str]) -> Outcome:
    """The first run; later callers in this module get the same output, from the cache."""
    return run(first_output, capsys=capsys)


def _files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_pushes_and_a_second_one_computes_nothing(
    run: Run,
    first_output: Path,
    phantom_folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    images_before = _files(phantom_folder)

    outcome = run(first_output, capsys=capsys)

    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    assert outcome.cached == set()
    assert "RANDOM weights" in outcome.printed
    _check_summary(outcome.summary, outcome.output)
    assert _files(elsewhere) == {}, "something was written outside OUTPUT"
    assert _files(phantom_folder) == images_before
    assert not OutputLayout(first_output).scratch.exists()

    pushed_before = _files(first_output / "serving")
    again = run(first_output, capsys=capsys)

    assert again.exit_code == cli.EXIT_PUSHED
    assert again.executed == set()
    assert _files(first_output / "serving") == pushed_before
    for key in ("data", "models", "champion", "champion_pushed_to"):
        assert again.summary[key] == outcome.summary[key]


def _check_summary(summary: dict[str, Any], output: Path) -> None:
    assert list(summary["data"]["counts"]) == ["train", "eval", "test"]
    for split, wanted in {"train": 17, "eval": 7, "test": 6}.items():
        assert summary["data"]["counts"][split] == dict.fromkeys(
            ("COVID-19", "Normal", "Viral Pneumonia"), wanted
        )
    assert summary["data"]["patients_in_two_splits"] == 0
    assert summary["preset"] == "demo"
    assert summary["champion"] == "tiny"
    model = summary["models"]["tiny"]
    assert model["weights"] == "random"
    assert model["total"] == 18
    assert sum(map(sum, model["confusion"])) == 18
    assert model["correct"] == sum(model["confusion"][i][i] for i in range(3))
    assert model["accuracy"] == pytest.approx(model["correct"] / 18)
    low, high = model["wilson95"]
    assert 0 <= low < model["accuracy"] < high or model["accuracy"] == 1
    assert Path(model["pushed_to"]).parent == output.resolve() / "serving" / "tiny"
    assert (Path(model["pushed_to"]) / "saved_model.pb").is_file()
    assert summary["seconds"]["total"] >= sum(
        seconds for node, seconds in summary["seconds"].items() if node != "total"
    )


def test_another_learning_rate_recomputes_from_the_trainer_on(
    run: Run, first: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"training": {"learning_rate": 0.02, "epochs": 60}}

    outcome = run(first.output, capsys=capsys, config=changed)

    assert outcome.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), outcome.printed
    assert {node.split(".")[0] for node in outcome.executed} <= FROM_THE_TRAINER_ON
    assert "Trainer.tiny" in outcome.executed
    assert {"RadiographExampleGen", "Transform", "Featurizer.tiny"} <= outcome.cached
    back = run(first.output, capsys=capsys)
    assert "Trainer.tiny" in back.cached


def test_the_evaluation_is_that_of_the_pushed_model_on_raw_bytes(first: Outcome) -> None:
    """TFMA's confusion matrix against the SavedModel, asked with the PNG files."""
    import tensorflow as tf

    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    entries = [
        e
        for e in read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
        if e.split == "test"
    ]
    classes = first.summary["data"]["classes"]
    model = tf.saved_model.load(first.summary["models"]["tiny"]["pushed_to"])
    confusion = np.zeros((3, 3), int)
    data = Path(_data_dir(first))
    for entry in entries:
        answer = model.signatures["serving_default"](
            image_bytes=tf.constant([(data / entry.file).read_bytes()])
        )
        predicted = answer["predicted_class"].numpy()[0].decode()
        confusion[classes.index(entry.class_name), classes.index(predicted)] += 1
    assert confusion.tolist() == first.summary["models"]["tiny"]["confusion"]


def _data_dir(outcome: Outcome) -> str:
    import ml_metadata as mlmd
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(OutputLayout(outcome.output).metadata)
    store = mlmd.MetadataStore(config)
    executions = [e for e in store.get_executions() if e.type.endswith(".RadiographExampleGen")]
    return str(executions[-1].custom_properties["data_dir"].string_value)


def test_the_evaluation_holds_the_metrics_and_slices_that_are_promised(first: Outcome) -> None:
    from pipeline.summary import candidate_result, read_run

    # With a baseline or without: which of the two depends on what ran here before.
    outputs = read_run(OutputLayout(first.output))
    result = candidate_result(outputs.uri("Evaluator.tiny", "evaluation"))
    slices = dict(result.slicing_metrics)
    assert {key[0][0] for key in slices if key} == set(contract.SLICE_FEATURES)
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

    from components.featurizer.executor import Job, Prefix
    from models.preprocessing import decode_and_resize
    from pipeline.summary import read_run

    outputs = read_run(OutputLayout(first.output))
    backbone = path_utils.serving_model_path(outputs.uri("PretrainedBackbone.tiny", "model"))
    prefix = Prefix(Job("tiny", None, "head", backbone))
    entries = read_manifest(outputs.uri("RadiographExampleGen", "manifest"))
    by_hash = {e.sha256: e for e in entries}
    files = tf.io.gfile.glob(outputs.uri("Featurizer.tiny", "features") + "/Split-test/features-*")
    compared = 0
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        entry = by_hash[fields[contract.SHA256].bytes_list.value[0].decode()]
        image = decode_and_resize((phantom_folder / entry.file).read_bytes())
        for name, expected in prefix(image[tf.newaxis]).items():
            raw = fields[contract.FEATURE_PREFIX + name].bytes_list.value[0]
            np.testing.assert_allclose(np.frombuffer(raw, "float32"), expected[0], atol=1e-5)
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
    np.testing.assert_array_equal(by_examples["probabilities"], by_images["probabilities"])
    assert len(records) == 18


def test_an_unreached_gate_pushes_nothing_and_exits_with_3(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = {
        "gate": {"min_accuracy": 0.99},
        "training": {"learning_rate": 1e-9, "epochs": 1, "head": {"kind": "paper"}},
    }
    outcome = run(tmp_path / "output", capsys=capsys, config=hopeless)
    assert outcome.exit_code == cli.EXIT_NONE_BLESSED, outcome.printed
    model = outcome.summary["models"]["tiny"]
    assert model["blessed"] is False
    assert model["pushed_to"] is None
    assert outcome.summary["champion"] is None
    assert not (tmp_path / "output" / "serving").exists()


def test_a_worse_model_than_the_baseline_is_not_blessed(
    run: Run, first: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained = {
        "gate": {"min_accuracy": 0.0},
        "training": {"learning_rate": 1e-9, "epochs": 1, "head": {"kind": "paper"}},
    }
    outcome = run(first.output, capsys=capsys, config=untrained)
    worse = outcome.summary["models"]["tiny"]
    assert worse["accuracy"] < first.summary["models"]["tiny"]["accuracy"]
    assert worse["blessed"] is False
    alone = run(
        first.output,
        capsys=capsys,
        config=untrained | {"gate": {"min_accuracy": 0.0, "against_baseline": False}},
    )
    assert alone.summary["models"]["tiny"]["blessed"] is True


def test_an_anomaly_stops_the_run_before_anything_is_trained(
    run: Run, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    table = (data / "metadata.csv").read_text()
    (data / "metadata.csv").write_text(table.replace(",F,", ",female,"))
    outcome = run(tmp_path / "output", capsys=capsys, data=data)
    assert outcome.exit_code == cli.EXIT_INPUT
    assert "patient/sex" in outcome.printed
    assert "female" in outcome.printed
    assert "Traceback" not in outcome.printed
    assert not any(node.startswith(("Trainer", "Transform")) for node in outcome.executed)


def test_too_many_bad_images_exit_with_2_and_name_them(
    run: Run, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    for image in sorted((data / "NORMAL").glob("*.png"))[:8]:
        image.write_bytes(b"no image")
    outcome = run(tmp_path / "output", capsys=capsys, data=data)
    assert outcome.exit_code == cli.EXIT_INPUT
    assert "NORMAL" in outcome.printed


def test_the_paper_preset_runs_an_epoch(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = {
        "preset": "paper",
        "allow_random_weights": True,
        "gate": {"min_accuracy": 0.0},
        "training": {},
        "training_overrides": {"tiny": {"epochs": 1}},
    }
    outcome = run(tmp_path / "output", capsys=capsys, config=paper)
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


def test_a_fault_of_the_program_exits_with_1_and_names_the_node(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.featurizer import executor

    def broken(*_: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(executor, "load_network", broken)
    outcome = run(tmp_path / "output", capsys=capsys)
    assert outcome.exit_code == cli.EXIT_ERROR
    assert "Featurizer.tiny" in outcome.printed
    assert "disk on fire" in outcome.printed


def test_metadata_from_another_place(
    run: Run, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    elsewhere = tmp_path / "table.csv"
    (data / "metadata.csv").rename(elsewhere)
    elsewhere.write_text(elsewhere.read_text() + "NORMAL/gone.png,NORMAL,,,,,,\n")
    outcome = run(tmp_path / "output", "--metadata", str(elsewhere), capsys=capsys, data=data)
    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    assert sum(outcome.summary["data"]["left_out"].values()) > 0
    assert os.path.realpath(data) == _data_dir(outcome)
