"""The runner of a DAG: what it makes of failures, and what TFX's own command line calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import InputError
from pipeline import local_runner
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.local.exclusive import alone_in
from pipeline.local.progress import How, Listener, NodeClock
from pipeline.local_runner import NodeFailedError, main, run_observed


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.warnings: list[str] = []
        self.started: list[str] = []

    def warn(self, sentence: str) -> None:
        """Keep it."""
        self.warnings.append(sentence)

    def node_started(self, node: str) -> None:
        """Keep it."""
        self.started.append(node)

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Leave it: nothing is asked of it here."""

    def node_failed(self, node: str) -> None:
        """Leave it: nothing is asked of it here."""

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Leave it: nothing is asked of it here."""


@pytest.fixture
def told() -> Told:
    """A listener."""
    return Told()


@pytest.fixture
def clock(told: Listener) -> NodeClock:
    """It hears what TFX logs, and tells the listener."""
    return NodeClock(told, lambda _: None)


def _failing(error: Exception, cause: BaseException | None = None) -> Callable[[], None]:
    """A pipeline whose second node fails."""

    def run() -> None:
        logging.getLogger("absl").info("Component %s is running.", "Trainer.vgg16")
        raise error from cause

    return run


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (ValueError("out of memory"), None, "Trainer.vgg16 failed: out of memory"),
        # TFX's own errors may say nothing: what led to them does.
        (RuntimeError(""), OSError("disk full"), "Trainer.vgg16 failed: disk full"),
        (RuntimeError(""), None, "Trainer.vgg16 failed: RuntimeError"),
    ],
)
def test_a_failure_names_the_node_and_what_led_to_it(
    error: Exception, cause: BaseException | None, said: str, clock: NodeClock, told: Told
) -> None:
    with pytest.raises(NodeFailedError) as raised:
        run_observed(_failing(error, cause), clock)
    assert str(raised.value) == said
    assert raised.value.__cause__ is error
    assert told.started == ["Trainer.vgg16"]


@pytest.mark.parametrize("beneath", [False, True])
def test_the_users_own_mistake_stays_his_however_deep_it_lies(
    beneath: bool, clock: NodeClock
) -> None:
    mistake = InputError("data.dir: no images")
    error = RuntimeError("Execution failed") if beneath else mistake
    with pytest.raises(InputError, match=r"data\.dir: no images"):
        run_observed(_failing(error, mistake if beneath else None), clock)


def test_where_no_node_ran_the_runner_failed_and_the_clock_hears_no_more(
    clock: NodeClock, told: Told
) -> None:
    def run() -> None:
        raise ValueError("no such pipeline")

    with pytest.raises(NodeFailedError, match="the runner failed: no such pipeline"):
        run_observed(run, clock)
    logging.getLogger("absl").info("Component %s is running.", "Trainer.vgg16")
    assert told.started == []


def test_an_inventory_that_cannot_be_written_is_a_warning(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(local_runner, "update_inventory", refuse)
    layout = OutputLayout(tmp_path)
    local_runner._take_down(layout, [], told)
    (warning,) = told.warnings
    assert str(layout.inventory) in warning and "disk full" in warning


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PipelineConfig]:
    """What TFX's command line had run; none of it runs. The working folder is empty."""
    configs: list[PipelineConfig] = []

    def run(config: PipelineConfig, _: Listener) -> None:
        with pytest.raises(InputError), alone_in(OutputLayout(config.output)):
            pass
        configs.append(config)

    monkeypatch.setattr(local_runner, "run", run)
    monkeypatch.delenv("CXR_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return configs


@pytest.mark.parametrize("named", [False, True])
def test_tfxs_command_runs_the_file_that_the_environment_names_and_else_cxr_yaml(
    named: bool, ran: list[PipelineConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, seed in (("cxr.yaml", 1), ("mine/own.yaml", 2)):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        content = {"data": {"dir": "images"}, "output": "out", "seed": seed}
        (tmp_path / place).write_text(yaml.safe_dump(content))
    if named:
        monkeypatch.setenv("CXR_CONFIG", "mine/own.yaml")
    main()
    (config,) = ran
    folder = tmp_path / "mine" if named else tmp_path
    assert (config.seed, config.output.resolve()) == (2 if named else 1, folder / "out")


def test_tfxs_command_prints_the_result_only_where_something_ran(
    ran: list[PipelineConfig],
    example_summary: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cxr.yaml").write_text(yaml.safe_dump({"data": {"dir": "images"}}))
    # `tfx pipeline create` only looks at the pipeline.
    main()
    assert "Champion" not in capsys.readouterr().out
    monkeypatch.setattr(local_runner, "run", lambda config, _: example_summary(config.output))
    main()
    assert "Champion: vgg16" in capsys.readouterr().out
