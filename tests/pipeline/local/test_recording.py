"""A run's record while the run goes on, and after each way in which it can end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import InputError
from models.weights import WeightsSource
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.local.exit_codes import (
    EXIT_ERROR,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NONE_BLESSED,
    EXIT_PUSHED,
)
from pipeline.local.recording import Recording, code_of, new_record
from pipeline.local.summary import write_summary
from pipeline.resolve.engine import ResolvedEngine
from pipeline.runs.record import Record, read_records

FIRST, LAST = "RadiographExampleGen", "Trainer.vgg16"
PLACES = {FIRST: {"manifest": f"{FIRST}/manifest/1"}, "Elsewhere": {"x": "y"}}


class Told:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.nodes: list[str] = []

    def warn(self, sentence: str) -> None:
        """Keeps it."""
        self.warnings.append(sentence)

    def node_started(self, node: str) -> None:
        """Keeps it."""
        self.nodes.append(node)

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Keeps it."""
        self.nodes.append(f"{done} of {total} {what}")

    def node_failed(self, node: str) -> None:
        """Keeps it."""
        self.nodes.append(f"{node} failed")

    def node_finished(self, node: str, seconds: float, how: str) -> None:
        """Keeps it."""
        self.nodes.append(f"{node} {how}")


@pytest.fixture
def layout(tmp_path: Path) -> OutputLayout:
    """Of an output folder that is there."""
    return OutputLayout(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """With a password."""
    secret = ["--region=eu", "--s3_secret_access_key=hunter2"]
    overrides = {"data": {"dir": tmp_path}, "backbones": ["vgg16"], "beam_args": secret}
    return load_config(overrides=overrides)


@pytest.fixture
def summary(
    example_summary: Callable[[Path], dict[str, Any]], layout: OutputLayout
) -> dict[str, Any]:
    """What can be told of the run."""
    return example_summary(layout.root)


@pytest.fixture
def recording(layout: OutputLayout, config: PipelineConfig, summary: dict[str, Any]) -> Recording:
    """Of a run that has not begun."""
    record = new_record(
        config,
        layout,
        datetime.now().astimezone(),
        weights={"vgg16": WeightsSource("imagenet", "w.h5", "ab")},
        engine=ResolvedEngine("tensorflow", "2.16"),
        spans=None,
    )
    return Recording(layout, record, {LAST: "c0de"}, Told(), lambda: (summary, PLACES))


def read(layout: OutputLayout) -> Record:
    """The one that there is."""
    found = read_records(layout)
    assert found.unreadable == {}
    (record,) = found.readable
    return record


def test_what_a_run_is_stands_there_before_its_first_node_ends(
    recording: Recording, layout: OutputLayout
) -> None:
    recording.node_started(FIRST)
    record = read(layout)
    assert (record.state, record.at, record.exit) == ("running", FIRST, None)
    assert record.id == record.started.strftime("%Y-%m-%dT%H-%M-%S.%f")
    assert record.configuration["gate.min_accuracy"] == 0.9
    assert "training_of.vgg16.learning_rate" in record.configuration
    assert record.configuration["beam_args"] == ["--region=eu", "--s3_secret_access_key=***"]
    assert "hunter2" not in next(layout.runs.glob("*/run.json")).read_text()
    assert record.found["engine"] == "tensorflow 2.16"
    assert record.found["weights.vgg16"] == "imagenet ab"
    assert len(record.found["schema"]) == 64
    assert record.versions["tfx"]
    assert record.digest is None


def test_each_node_is_written_down_and_the_listener_told(
    recording: Recording, layout: OutputLayout
) -> None:
    recording.node_started(FIRST)
    recording.node_finished(FIRST, 1.23456, "cached")
    # The data are known from here on.
    assert read(layout).digest == "ab"
    recording.node_started(LAST)
    record = read(layout)
    assert (record.at, record.nodes[LAST].how, record.nodes[LAST].code) == (
        LAST,
        "unfinished",
        "c0de",
    )
    assert (record.nodes[FIRST].how, record.nodes[FIRST].seconds) == ("cached", 1.235)
    assert record.artifacts == {f"{FIRST}/manifest/1"}
    told = recording._listener
    assert isinstance(told, Told)
    assert told.nodes == [FIRST, f"{FIRST} cached", LAST]


def test_at_the_end_the_record_holds_what_the_summary_does(
    recording: Recording, layout: OutputLayout, summary: dict[str, Any]
) -> None:
    with recording:
        recording.node_started(LAST)
        recording.node_finished(LAST, 1.0, "executed")
        write_summary(layout, recording.look())
    record = read(layout)
    assert (record.state, record.exit, record.at, record.error) == (
        *("complete", EXIT_PUSHED),
        *(None, None),
    )
    assert record.seconds > 0
    assert record.result.model_dump() == summary
    (folder,) = layout.runs.iterdir()
    assert [file.name for file in folder.iterdir()] == ["run.json"]


def test_of_two_nodes_under_way_the_one_that_failed_is_said(
    recording: Recording, layout: OutputLayout
) -> None:
    with pytest.raises(ValueError, match="broken"), recording:
        recording.node_started(FIRST)
        recording.node_started(LAST)
        recording.node_failed(FIRST)
        recording.node_finished(LAST, 1.0, "executed")
        raise ValueError("broken")
    record = read(layout)
    assert (record.state, record.error, record.at) == ("failed", "broken", FIRST)
    assert {name: node.how for name, node in record.nodes.items()} == {
        FIRST: "failed",
        LAST: "executed",
    }


def test_where_nothing_is_blessed(
    recording: Recording, layout: OutputLayout, summary: dict[str, Any]
) -> None:
    summary["champion"] = None
    for model in summary["models"].values():
        model |= {"blessed": False, "pushed_to": None}
    with recording:
        recording.node_started(LAST)
        recording.node_finished(LAST, 1.0, "executed")
        recording.look()
    assert (read(layout).state, read(layout).exit) == ("none blessed", EXIT_NONE_BLESSED)


@pytest.mark.parametrize(
    ("error", "state", "exit_code", "said"),
    [
        (InputError("no images."), "failed", EXIT_INPUT, "no images."),
        (RuntimeError("Trainer failed"), "failed", EXIT_ERROR, "Trainer failed"),
        (KeyboardInterrupt(), "stopped", EXIT_INTERRUPTED, None),
    ],
)
def test_an_error_is_written_down_with_the_node_and_what_came_before(
    recording: Recording,
    layout: OutputLayout,
    error: BaseException,
    state: str,
    exit_code: int,
    said: str | None,
) -> None:
    with pytest.raises(type(error)), recording:
        recording.node_started(FIRST)
        recording.node_finished(FIRST, 1.0, "executed")
        recording.node_started(LAST)
        raise error
    record = read(layout)
    assert (record.state, record.at, record.exit, record.error) == (state, LAST, exit_code, said)
    assert record.nodes[LAST].how == ("failed" if state == "failed" else "unfinished")
    assert record.digest == "ab"


def test_what_cannot_be_told_of_a_failed_run_hides_nothing(
    recording: Recording, layout: OutputLayout, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged() -> Any:
        raise OSError("cut short")

    recording._look = damaged
    with pytest.raises(RuntimeError, match="first"), recording:
        recording.node_started(FIRST)
        raise RuntimeError("first")
    assert read(layout).error == "first"
    assert "cut short" in caplog.text


def test_where_nothing_is_run_nothing_is_written(
    recording: Recording, layout: OutputLayout
) -> None:
    with recording:
        pass
    assert not layout.runs.exists()


def test_a_record_that_cannot_be_written_is_a_warning(
    recording: Recording, layout: OutputLayout
) -> None:
    told = recording._listener
    assert isinstance(told, Told)
    with recording:
        recording.node_started(LAST)
        (layout.runs / recording.record.id / "run.unfinished").mkdir()
        recording.node_finished(LAST, 1.0, "executed")
        (layout.runs / recording.record.id / "run.unfinished").rmdir()
    (warning,) = told.warnings
    assert warning.startswith("output: the record of this run can't be written (")
    assert read(layout).state == "none blessed"


def test_of_a_folder_that_was_taken_away_the_run_itself_tells(
    recording: Recording, layout: OutputLayout, caplog: pytest.LogCaptureFixture
) -> None:
    told = recording._listener
    assert isinstance(told, Told)
    with recording, caplog.at_level(logging.ERROR):
        recording.node_started(LAST)
        shutil.rmtree(layout.runs)
        recording.node_finished(LAST, 1.0, "executed")
    assert told.warnings == []
    assert not layout.runs.exists()
    assert "has no folder any more" in caplog.text


def test_the_digest_of_code_is_found_wherever_it_stands() -> None:
    digest = "0a" * 32
    nodes = {
        "Champion": {"code_digest": digest},
        "Trainer.a": {"custom_config": f'{{"seed": 1, "code_digest": "{digest}"}}'},
        "Evaluator.a": {"eval_config": f'"config": "\\"code_digest\\": \\"{digest}\\""'},
        "StatisticsGen": {"stats_options_json": None},
    }
    components = [SimpleNamespace(id=name, exec_properties=has) for name, has in nodes.items()]
    found = code_of(SimpleNamespace(components=components))
    assert found == dict.fromkeys(("Champion", "Trainer.a", "Evaluator.a"), digest)
