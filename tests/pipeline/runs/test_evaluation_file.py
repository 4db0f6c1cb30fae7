"""Accuracy read from TFMA's file, and what is said where that can't be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs.evaluation_file import Figures, NoFiguresError, metrics_message, read_figures

ROOT = Path(__file__).parents[3]
Write = Callable[..., None]
WITH_BASELINE = {"mcnemar_only_candidate_right": 2.0, "mcnemar_only_baseline_right": 0.0}


def test_it_is_the_whole_test_splits_and_the_candidates(
    evaluation_file: Write, tmp_path: Path
) -> None:
    metrics = {"accuracy": 0.9, "example_count": 10.0, **WITH_BASELINE}
    evaluation_file(tmp_path / "e", metrics, accuracy=0.7, example_count=10.0)
    assert read_figures(str(tmp_path / "e")) == Figures(9, 10, 2, 0)


def test_without_a_baseline_there_are_no_images_of_only_one(
    evaluation_file: Write, tmp_path: Path
) -> None:
    evaluation_file(tmp_path / "e", {"accuracy": 0.9, "example_count": 10.0})
    assert read_figures(str(tmp_path / "e")) == Figures(9, 10)


@pytest.mark.parametrize("total", [129, 657, 99_991])
def test_the_count_survives_float32(evaluation_file: Write, tmp_path: Path, total: int) -> None:
    for correct in (0, 1, total // 3, total - 1, total):
        folder = tmp_path / str(correct)
        accuracy = float(np.float32(correct / total))
        evaluation_file(folder, {"accuracy": accuracy, "example_count": float(total)})
        assert read_figures(str(folder)) == Figures(correct, total)


def test_files_that_are_gone_or_damaged_are_said(evaluation_file: Write, tmp_path: Path) -> None:
    with pytest.raises(NoFiguresError, match="no longer on disk"):
        read_figures(str(tmp_path / "gone"))
    evaluation_file(tmp_path / "e", {"accuracy": 0.9, "example_count": 10.0})
    (file,) = (tmp_path / "e").iterdir()
    content = file.read_bytes()
    for damaged in (content[:-5], content[:5], content[:12] + b"\xff" * (len(content) - 12)):
        file.write_bytes(damaged)
        with pytest.raises(NoFiguresError, match="can't be read"):
            read_figures(str(tmp_path / "e"))
    file.write_bytes(b"")
    with pytest.raises(NoFiguresError, match="whole test split"):
        read_figures(str(tmp_path / "e"))


def test_what_is_no_accuracy_is_not_shown_as_one(evaluation_file: Write, tmp_path: Path) -> None:
    for number, metrics in enumerate(({"accuracy": 0.9}, {"accuracy": 1.5, "example_count": 3.0})):
        evaluation_file(tmp_path / str(number), metrics)
        with pytest.raises(NoFiguresError, match="can't be read"):
            read_figures(str(tmp_path / str(number)))


@pytest.mark.slow
@pytest.mark.parametrize("first", ["read", "import"])
def test_tfma_works_in_a_process_that_reads_one(
    evaluation_file: Write, tmp_path: Path, first: str
) -> None:
    """Whichever comes first; and what it then writes is read, too."""
    evaluation_file(tmp_path / "other", {"accuracy": 0.9, "example_count": 10.0})
    # Plots, since Beam pickles their messages: by name, and refuses those of another class.
    code = f"""
import json
import sys
from pipeline.runs.evaluation_file import Figures, read_figures
from pipeline.runtime import prepare_environment
prepare_environment()
def read():
    assert read_figures({str(tmp_path / "other")!r}) == Figures(9, 10)
if {first!r} == "read":
    read()
    assert "tensorflow_model_analysis" not in sys.modules
import pandas as pd
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
read()
names = "SparseCategoricalAccuracy", "ExampleCount", "MultiClassConfusionMatrixPlot"
metrics = [config_pb2.MetricConfig(class_name=name) for name in names]
metrics[0].config = '"name": "accuracy"'
written = {str(tmp_path / "written")!r}
tfma.analyze_raw_data(
    pd.DataFrame({{"label": [0, 1, 1], "prediction": [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]}}),
    config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
    ),
    output_path=written,
)
result = tfma.load_eval_result(written)
print(json.dumps({{
    "accuracy": result.get_metrics_for_all_slices()[()]["accuracy"]["doubleValue"],
    "plots": list(dict(result.plots)[()][""][""]),
    "ours": [read_figures(written).correct, read_figures(written).total],
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("accuracy") == pytest.approx(2 / 3)
    assert found == {"plots": ["multiClassConfusionMatrixAtThresholds"], "ours": [2, 3]}


def test_the_message_is_tfmas_to_the_last_field() -> None:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    ours, theirs = metrics_message().DESCRIPTOR, metrics_for_slice_pb2.MetricsForSlice.DESCRIPTOR
    assert ours.file.serialized_pb == theirs.file.serialized_pb
    assert ours.file.pool is not theirs.file.pool
