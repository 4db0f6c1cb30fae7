"""Accuracy read from TFMA's file, and what is said where that can't be."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs.evaluation_file import Figures, NoFiguresError, metrics_message, read_figures

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
def test_tfma_works_in_a_process_that_reads_one_after_its_import(
    evaluation_file: Write, tmp_path: Path
) -> None:
    """The other way round: tests/pipeline/test_quick_import.py."""
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    metrics_message.cache_clear()
    evaluation_file(tmp_path / "e", {"accuracy": 0.9, "example_count": 10.0})
    assert read_figures(str(tmp_path / "e")) == Figures(9, 10)
    # Beam pickles them: by name, and refuses those of another class.
    for name in ("MetricsForSlice", "PlotsForSlice", "MetricKey", "PlotKey"):
        message = getattr(metrics_for_slice_pb2, name)()
        assert pickle.loads(pickle.dumps(message)) == message


def test_the_message_is_tfmas_to_the_last_field() -> None:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    ours, theirs = metrics_message().DESCRIPTOR, metrics_for_slice_pb2.MetricsForSlice.DESCRIPTOR
    assert ours.file.serialized_pb == theirs.file.serialized_pb
    assert ours.file.pool is not theirs.file.pool
